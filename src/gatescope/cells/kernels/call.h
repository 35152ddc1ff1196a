// What one call is given, and how it goes through the steps of a batch.
//
// Padded buffers are time-major, (T + 1, B, H) with the initial state first. Packed ones hold valid steps only:
// step t owns rows offsets[t] … offsets[t + 1] - 1, sequences from the longest to the shortest, so that no work
// goes into padding. A call takes every `stride`-th packed row from `first` on: calls of several threads share
// nothing, and each row's numbers are the same however many there are.
#pragma once
#include <algorithm>
#include <vector>

#include "architectures.h"

struct Call {
  int64_t steps, batch, inputs, hidden, first, stride;
  const int64_t *offsets, *order;                   // (T + 1), and (B): packed row -> sequence
  const void *x;                                    // (B, T, D) of any strides, each row in one piece
  int64_t x_b, x_t;
  const void *w, *u;                                // (chunks·H, D), (chunks·H, H) or null
  const void *bias, *recurrent_bias, *peepholes;    // (chunks·H) each, the second may be null; (3, H) or null
  const void *panels;                               // packed W and U; null: the call packs them for itself
  void *gates, *extra;                              // (N, chunks·H), (N, H); or null: not kept
  void *h, *c;                                      // (T + 1, B, H)
  // forwards only
  const void *initial, *initial_c;                  // (B, H), or null: 0
  // backwards only
  const void *last, *last_c;                        // (B, H): of the last states beside the direct ones; or null
  const void *direct, *direct_c;                    // (B, T, H) of any strides, or null
  int64_t direct_b, direct_t, direct_c_b, direct_c_t;
  void *deltas;                                     // (N, widths·H); or null
  void *carry, *carry_c;                            // (B, H): ∂L/∂initial at the end
  void *arriving, *total_c;                         // (T, B, H): ∂L/∂h_t and ∂L/∂c_t in full, or null
  double *logs;                                     // (T, B): renormalise, and the logarithm of each scale; or null
  const double *outside;                            // (T, B): of the direct gradients, or null
  void *of_x;                                       // (B, T, D) of any strides, or null
  int64_t of_x_b, of_x_t;
  void *of_w, *of_u, *of_bias;                      // (D, chunks·H), (H, chunks·H), (widths·H); or null
};

// Packed rows that are worked through together, so that what one part leaves is in the cache for the next. The
// same for any number of threads: the sums over rows are made block by block.
constexpr int64_t BLOCK_BYTES = 192 << 10, BLOCK_ROWS = 192;

inline int64_t rows_of_block(int64_t row_bytes) { return std::max(BLOCK_ROWS, BLOCK_BYTES / row_bytes); }

// The step behind the last one of a block that begins at `t`, and the first one of a block that ends before `t`.
inline int64_t block_end(const Call &call, int64_t t, int64_t rows) {
  const int64_t from = call.offsets[t++];
  while (t < call.steps && call.offsets[t + 1] - from <= rows) t++;
  return t;
}

inline int64_t block_begin(const Call &call, int64_t t, int64_t rows) {
  const int64_t to = call.offsets[t--];
  while (t > 0 && to - call.offsets[t - 1] <= rows) t--;
  return t;
}

// (B, H): the call's sequences of `from`, or 0.
template <class S> void start(const Call &call, const void *from, void *to) {
  const int64_t H = call.hidden;
  for (int64_t row = call.first; row < call.batch; row += call.stride) {
    const int64_t at = call.order[row] * H;
    if (from)
      std::copy_n((const S *)from + at, H, (S *)to + at);
    else
      std::fill_n((S *)to + at, H, S(0));
  }
}

// What a unit's step adds: a GRU's candidate has its recurrent bias inside the reset gate's product.
template <class S, class A> const S *per_unit(const Call &call) {
  if (A::gap) return (const S *)call.recurrent_bias + (A::chunks - A::gap) * call.hidden;
  return (const S *)call.peepholes;
}

// Rows of step `t` that a call takes.
INLINE int64_t mine(const Call &call, int64_t t) {
  const int64_t active = call.offsets[t + 1] - call.offsets[t];
  return active <= call.first ? 0 : (active - call.first + call.stride - 1) / call.stride;
}
