// The arguments of a call, and how it iterates over the steps of a batch.
//
// Padded buffers are time-major, (T + 1, B, H) with the initial state first. Packed buffers hold valid steps only:
// step t owns rows offsets[t] … offsets[t + 1] - 1, ordered from the longest sequence to the shortest, so that
// padding costs no work. A call processes every `stride`-th packed row, starting at `first`. The calls of several
// threads share nothing, and the values of a row do not depend on the number of threads.
#pragma once
#include <algorithm>
#include <vector>

#include "architectures.h"

struct Call {
  int64_t steps, batch, inputs, hidden, first, stride;
  const int64_t *offsets, *order;                   // (T + 1), and (B): packed row -> sequence
  const void *x;                                    // (B, T, D), last dimension contiguous
  int64_t x_stride_b, x_stride_t;
  const void *w, *u;                                // (chunks·H, D), (chunks·H, H) or null
  const void *bias, *recurrent_bias, *peepholes;    // (chunks·H) each, the second may be null; (3, H) or null
  const void *panels;                               // packed W and U; null: the call packs them itself
  void *gates, *extra;                              // (N, chunks·H), (N, H); null: not stored
  void *h, *c;                                      // (T + 1, B, H)
  // forward only
  const void *initial, *initial_c;                  // (B, H); null: zeros
  // backward only
  const void *last_grad, *last_grad_c;              // (B, H), at the last states in addition; or null
  const void *output_grad, *output_grad_c;          // (B, T, H), last dimension contiguous; or null
  int64_t output_grad_stride_b, output_grad_stride_t, output_grad_c_stride_b, output_grad_c_stride_t;
  void *deltas;                                     // (N, widths·H); or null
  void *initial_grad, *initial_grad_c;              // (B, H): the running ∂L/∂state, at the end ∂L/∂initial
  void *state_grad, *state_grad_c;                  // (T, B, H): ∂L/∂h_t and ∂L/∂c_t in full; or null
  double *log_scale;                                // (T, B): logarithm of each scale; null: no renormalisation
  const double *output_grad_log_scale;              // (T, B); or null
  void *x_grad;                                     // (B, T, D), last dimension contiguous; or null
  int64_t x_grad_stride_b, x_grad_stride_t;
  void *w_grad, *u_grad, *bias_grad;                // (D, chunks·H), (H, chunks·H), (widths·H); or null
};

// Packed rows that are processed together, so that one part finds the results of another in the cache. The same for
// any number of threads: sums over rows are made block by block.
constexpr int64_t BLOCK_BYTES = 192 << 10, BLOCK_ROWS = 192;

inline int64_t rows_per_block(int64_t row_bytes) { return std::max(BLOCK_ROWS, BLOCK_BYTES / row_bytes); }

// Returns the step after the last one of a block that begins at `t`.
inline int64_t block_end(const Call &call, int64_t t, int64_t rows) {
  const int64_t from = call.offsets[t++];
  while (t < call.steps && call.offsets[t + 1] - from <= rows) t++;
  return t;
}

// Returns the first step of a block that ends before `t`.
inline int64_t block_begin(const Call &call, int64_t t, int64_t rows) {
  const int64_t to = call.offsets[t--];
  while (t > 0 && to - call.offsets[t - 1] <= rows) t--;
  return t;
}

// Copies the call's sequences of `from` (B, H) to `to`; zeros where `from` is null.
template <class S> void initialise(const Call &call, const void *from, void *to) {
  const int64_t H = call.hidden;
  for (int64_t row = call.first; row < call.batch; row += call.stride) {
    const int64_t at = call.order[row] * H;
    if (from)
      std::copy_n((const S *)from + at, H, (S *)to + at);
    else
      std::fill_n((S *)to + at, H, S(0));
  }
}

// Returns the parameters that a step reads by unit: the peepholes, or the candidate's recurrent bias of a GRU, which
// the reset gate multiplies.
template <class S, class A> const S *unit_parameters(const Call &call) {
  if (A::gap) return (const S *)call.recurrent_bias + (A::chunks - A::gap) * call.hidden;
  return (const S *)call.peepholes;
}

// Returns the number of rows of step `t` that a call processes.
INLINE int64_t own_rows(const Call &call, int64_t t) {
  const int64_t active = call.offsets[t + 1] - call.offsets[t];
  return active <= call.first ? 0 : (active - call.first + call.stride - 1) / call.stride;
}
