// The walk through time of one layer and direction, forwards and backwards, for some rows of a batch.
//
// Padded buffers are time-major, (T + 1, B, H) with the initial state first. Packed ones hold valid steps only:
// step t owns rows offsets[t] … offsets[t + 1] - 1, sequences from the longest to the shortest, so that no work
// goes into padding. A call takes every `stride`-th packed row from `first` on: calls of several threads share
// nothing, and each row's numbers are the same however many there are.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "architectures.h"
#include "product.h"

struct Call {
  int64_t steps, batch, hidden, first, stride;
  const int64_t *offsets, *order;  // (T + 1), and (B): packed row -> sequence
  void *fed, *extra;               // (N, chunks·H) pre-activations, then gates; (N, H)
  void *h, *c;                     // (T + 1, B, H)
  const void *shared, *panels;     // per unit; packed weights
  // backwards only
  const void *direct, *direct_c;   // (T, B, H) of any strides
  int64_t direct_t, direct_b, direct_c_t, direct_c_b;
  void *deltas;                    // (N, widths·H), or null
  void *carry, *carry_c;           // (B, H), 0 at the start, ∂L/∂initial at the end
  void *arriving, *total_c;        // (T, B, H): ∂L/∂h_t and ∂L/∂c_t in full, or null
  double *logs;                    // (T, B): renormalise, and the logarithm of each scale; or null
  const double *outside;           // (T, B): of the direct gradients, or null
};

constexpr int PANEL = 4;  // vectors of units at most

// Units side by side in a panel: all chunks of a unit are in one, so that its step can follow at once.
template <class A> constexpr int blocks_of = A::chunks == 1 ? PANEL : 1;

template <class S> int64_t vectors(int64_t hidden) { return (hidden + Simd<S>::lanes - 1) / Simd<S>::lanes; }

template <class S, class A> void pack_forward(const S *u, int64_t H, S *to) {
  constexpr int lanes = Simd<S>::lanes;
  for (int64_t block = 0; block < vectors<S>(H); block += blocks_of<A>) {
    const int64_t side = std::min<int64_t>(blocks_of<A>, vectors<S>(H) - block);
    for (int64_t k = 0; k < H; k++)
      for (int chunk = 0; chunk < A::chunks; chunk++)
        for (int64_t unit = block * lanes; unit < (block + side) * lanes; unit++)
          *to++ = unit < H ? u[(chunk * H + unit) * H + k] : S(0);
  }
}

template <class S, class A> void pack_backward(const S *u, int64_t H, S *to) {
  constexpr int lanes = Simd<S>::lanes;
  for (int64_t block = 0; block < vectors<S>(H); block += PANEL) {
    const int64_t end = std::min<int64_t>(block + PANEL, vectors<S>(H)) * lanes;
    for (int64_t k = 0; k < A::chunks * H; k++)
      for (int64_t unit = block * lanes; unit < end; unit++) *to++ = unit < H ? u[k * H + unit] : S(0);
  }
}

INLINE int64_t mine(const Call &call, int64_t t) {
  const int64_t active = call.offsets[t + 1] - call.offsets[t];
  return active <= call.first ? 0 : (active - call.first + call.stride - 1) / call.stride;
}

INLINE int lanes_at(int64_t H, int64_t unit, int lanes) { return int(std::min<int64_t>(lanes, H - unit)); }

template <class S, class A, int side>
void forward_panel(const std::vector<Forward<S>> &rows, const S *const *before, int count, const S *panel, int64_t H,
                   int64_t start) {
  constexpr int lanes = Simd<S>::lanes;
  const bool whole = start + side * lanes <= H;
  product<S, A::chunks * side>(before, count, panel, Shape{H, 0, 0}, [&](int i, const Vec<S> *sums) {
    for (int b = 0; b < side; b++) {
      Vec<S> chunk[A::chunks];
      for (int g = 0; g < A::chunks; g++) chunk[g] = sums[g * side + b];
      const int64_t unit = start + b * lanes;
      if (whole)
        A::forward(rows[i], chunk, H, unit, lanes);
      else
        A::forward(rows[i], chunk, H, unit, lanes_at(H, unit, lanes));
    }
  });
}

template <class S, class A> void forward(const Call &call) {
  constexpr int lanes = Simd<S>::lanes, blocks = blocks_of<A>;
  const int64_t H = call.hidden, plane = call.batch * H;
  std::vector<Forward<S>> rows(call.batch);
  std::vector<const S *> before(call.batch);
  for (int64_t t = 0; t < call.steps; t++) {
    const int count = int(mine(call, t));
    for (int i = 0; i < count; i++) {
      const int64_t row = call.first + i * call.stride, packed = call.offsets[t] + row;
      const int64_t at = t * plane + call.order[row] * H;
      Forward<S> &one = rows[i];
      one.fed = (S *)call.fed + packed * A::chunks * H;
      one.extra = (S *)call.extra + (call.extra ? packed * H : 0);
      one.h_before = before[i] = (S *)call.h + at;
      one.h = (S *)call.h + at + plane;
      one.c_before = (S *)call.c + (call.c ? at : 0);
      one.c = (S *)call.c + (call.c ? at + plane : 0);
      one.shared = (const S *)call.shared;
    }
    if constexpr (!A::recurrent) {
      for (int i = 0; i < count; i++)
        for (int64_t unit = 0; unit < H; unit += lanes)
          A::forward(rows[i], nullptr, H, unit, lanes_at(H, unit, lanes));
      continue;
    }
    const S *panel = (const S *)call.panels;
    for (int64_t block = 0; block < vectors<S>(H); block += blocks) {
      const int64_t side = std::min<int64_t>(blocks, vectors<S>(H) - block), start = block * lanes;
      if (side == 1) forward_panel<S, A, 1>(rows, before.data(), count, panel, H, start);
      if constexpr (blocks > 1) {
        if (side == 2) forward_panel<S, A, 2>(rows, before.data(), count, panel, H, start);
        if (side == 3) forward_panel<S, A, 3>(rows, before.data(), count, panel, H, start);
        if (side == 4) forward_panel<S, A, 4>(rows, before.data(), count, panel, H, start);
      }
      panel += H * A::chunks * side * lanes;
    }
  }
}

template <class S> INLINE S largest(const S *values, int64_t H) {
  constexpr int lanes = Simd<S>::lanes;
  Vec<S> found = {};
  for (int64_t unit = 0; unit < H; unit += lanes) {
    const Vec<S> v = load<S>(values + unit, lanes_at(H, unit, lanes)), size = v < 0 ? -v : v;
    found = size > found ? size : found;
  }
  S most = 0;
  for (int lane = 0; lane < lanes; lane++) most = std::max(most, S(found[lane]));
  return most;
}

// values = values * by + more * more_by
template <class S> INLINE void combine(S *values, S by, const S *more, S more_by, int64_t H) {
  constexpr int lanes = Simd<S>::lanes;
  for (int64_t unit = 0; unit < H; unit += lanes) {
    const int some = lanes_at(H, unit, lanes);
    Vec<S> sum = load<S>(values + unit, some) * by;
    if (more) sum += load<S>(more + unit, some) * more_by;
    store<S>(values + unit, sum, some);
  }
}

// carry·exp(log) + direct·exp(outside), with no entry above 2; log 0 where both are 0.
template <class S>
INLINE double renormalise(S *const *carry, const S *const *direct, double log, double outside, int64_t H) {
  const S tiny = std::numeric_limits<S>::min();
  S old = 0, fresh = 0;
  for (int part = 0; part < 2; part++) {
    if (carry[part]) old = std::max(old, largest(carry[part], H));
    if (direct[part]) fresh = std::max(fresh, largest(direct[part], H));
  }
  if (old == 0 && fresh == 0) return 0;
  const S by = std::max(old, tiny), fresh_by = std::max(fresh, tiny);
  const double log_old = old == 0 ? -INFINITY : log + std::log(double(by));
  const double log_fresh = fresh == 0 ? -INFINITY : outside + std::log(double(fresh_by));
  const double common = std::max(log_old, log_fresh);
  const S weight = old == 0 ? S(1) : S(std::exp(log_old - common)) / by;
  const S fresh_weight = fresh == 0 ? S(0) : S(std::exp(log_fresh - common)) / fresh_by;
  for (int part = 0; part < 2; part++)
    if (carry[part]) combine<S>(carry[part], weight, fresh == 0 ? nullptr : direct[part], fresh_weight, H);
  return common;
}

template <class S, int side>
void backward_panel(const std::vector<S *> &carry, const S *const *deltas, int count, const S *panel,
                    const Shape &shape, int64_t H, int64_t start) {
  constexpr int lanes = Simd<S>::lanes;
  product<S, side>(deltas, count, panel, shape, [&](int i, const Vec<S> *sums) {
    for (int b = 0; b < side; b++) {
      const int64_t unit = start + b * lanes;
      const int some = lanes_at(H, unit, lanes);
      store<S>(carry[i] + unit, load<S>(carry[i] + unit, some) + sums[b], some);
    }
  });
}

// A row of the direct gradients lies far from the one before it in time: asked for two steps ahead.
template <class S> INLINE void prefetch(const void *from, int64_t at, int64_t H) {
  const char *row = (const char *)((const S *)from + at);
  for (int64_t byte = 0; byte < H * int64_t(sizeof(S)); byte += 64) __builtin_prefetch(row + byte);
}

template <class S, class A> void backward(const Call &call) {
  constexpr int lanes = Simd<S>::lanes;
  const int64_t H = call.hidden, plane = call.batch * H;
  const Shape shape = A::gap ? Shape{2 * H, 3 * H, H} : Shape{A::chunks * H, 0, 0};
  std::vector<S *> carry(call.batch);
  std::vector<const S *> deltas(call.batch);
  std::vector<double> logs(call.batch, 0.0);
  std::vector<S> scratch(call.deltas ? 0 : call.batch * A::widths * H);
  for (int64_t t = call.steps - 1; t >= 0; t--) {
    const int count = int(mine(call, t));
    for (int i = 0; i < count; i++) {
      const int64_t row = call.first + i * call.stride, packed = call.offsets[t] + row;
      const int64_t sequence = call.order[row], at = t * plane + sequence * H;
      Backward<S> one;
      one.gates = (const S *)call.fed + (call.fed ? packed * A::chunks * H : 0);
      one.extra = (const S *)call.extra + (call.extra ? packed * H : 0);
      one.h_before = (const S *)call.h + at;
      one.h = (const S *)call.h + at + plane;
      one.c_before = (const S *)call.c + (call.c ? at : 0);
      one.c = (const S *)call.c + (call.c ? at + plane : 0);
      one.shared = (const S *)call.shared;
      one.carry = carry[i] = (S *)call.carry + sequence * H;
      one.carry_c = A::memory ? (S *)call.carry_c + sequence * H : nullptr;
      one.deltas = call.deltas ? (S *)call.deltas + packed * A::widths * H : scratch.data() + i * A::widths * H;
      one.total_c = call.total_c ? (S *)call.total_c + at : nullptr;
      deltas[i] = one.deltas;
      const S *direct[2] = {
          call.direct ? (const S *)call.direct + t * call.direct_t + sequence * call.direct_b : nullptr,
          call.direct_c ? (const S *)call.direct_c + t * call.direct_c_t + sequence * call.direct_c_b : nullptr};
      if (call.direct && t > 1)
        prefetch<S>(call.direct, (t - 2) * call.direct_t + sequence * call.direct_b, H);
      S *const into[2] = {one.carry, one.carry_c};
      if (call.logs) {
        const int64_t place = t * call.batch + sequence;
        logs[i] = renormalise<S>(into, direct, logs[i], call.outside ? call.outside[place] : 0, H);
        call.logs[place] = logs[i];
      } else {
        for (int part = 0; part < 2; part++)
          if (direct[part]) combine<S>(into[part], 1, direct[part], 1, H);
      }
      if (call.arriving) std::copy(one.carry, one.carry + H, (S *)call.arriving + at);
      int64_t unit = 0;
      for (; unit + lanes <= H; unit += lanes) A::backward(one, H, unit, lanes);
      if (unit < H) A::backward(one, H, unit, int(H - unit));
    }
    if constexpr (!A::recurrent) continue;
    const S *panel = (const S *)call.panels;
    for (int64_t block = 0; block < vectors<S>(H); block += PANEL) {
      const int64_t side = std::min<int64_t>(PANEL, vectors<S>(H) - block), start = block * lanes;
      if (side == 1) backward_panel<S, 1>(carry, deltas.data(), count, panel, shape, H, start);
      if (side == 2) backward_panel<S, 2>(carry, deltas.data(), count, panel, shape, H, start);
      if (side == 3) backward_panel<S, 3>(carry, deltas.data(), count, panel, shape, H, start);
      if (side == 4) backward_panel<S, 4>(carry, deltas.data(), count, panel, shape, H, start);
      panel += A::chunks * H * side * lanes;
    }
  }
}

// The numbers of one packed copy of U, either way.
template <class S> int64_t packed_size(int64_t chunks, int64_t H) {
  return chunks * H * vectors<S>(H) * Simd<S>::lanes;
}

#define EXPORT(name, S, ...)                                                                                    \
  extern "C" void name##_forward(const Call *call) { forward<S, __VA_ARGS__>(*call); }                          \
  extern "C" void name##_backward(const Call *call) { backward<S, __VA_ARGS__>(*call); }                        \
  extern "C" void name##_pack_forward(const S *u, int64_t H, S *to) { pack_forward<S, __VA_ARGS__>(u, H, to); } \
  extern "C" void name##_pack_backward(const S *u, int64_t H, S *to) { pack_backward<S, __VA_ARGS__>(u, H, to); }

#define EXPORT_ALL(type, S)                      \
  EXPORT(tanh_##type, S, Plain<S, false>)        \
  EXPORT(relu_##type, S, Plain<S, true>)         \
  EXPORT(gru_##type, S, GRU<S>)                  \
  EXPORT(lstm_##type, S, LSTM<S, false>)         \
  EXPORT(peephole_##type, S, LSTM<S, true>)      \
  EXPORT(mingru_##type, S, MinGRU<S>)            \
  EXPORT(minlstm_##type, S, MinLSTM<S>)          \
  extern "C" int64_t packed_size_##type(int64_t chunks, int64_t H) { return packed_size<S>(chunks, H); }
