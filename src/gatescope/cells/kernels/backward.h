// The walk back in time of one layer and direction, for some rows of a batch, and the gradients that come of it.
#pragma once
#include "call.h"
#include "panels.h"
#include "product.h"
#include "renormalise.h"

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

template <class S, class A> int64_t input_panels_backward(const Call &call) {
  return call.of_x ? packed_backward_size<S>(A::chunks * call.hidden, call.inputs) : 0;
}

// W, where the inputs' gradients are asked for, and U behind it, in room of the calling thread.
template <class S, class A> void pack_for_backward(Call &call) {
  static thread_local std::vector<Vec<S>> room;
  const int64_t H = call.hidden, of_w = input_panels_backward<S, A>(call);
  S *const panels = room_for<S>(room, of_w + (A::recurrent ? packed_backward_size<S>(A::chunks * H, H) : 0));
  if (call.of_x) pack_backward<S>((const S *)call.w, A::chunks * H, call.inputs, panels);
  if (A::recurrent) pack_backward<S>((const S *)call.u, A::chunks * H, H, panels + of_w);
  call.panels = panels;
}

// What several steps use again.
template <class S> struct Step {
  std::vector<S *> carry;
  std::vector<const S *> deltas;
  std::vector<double> logs;
};

// `deltas` takes those of step `t`, packed.
template <class S, class A> void step_backward(const Call &call, int64_t t, S *deltas, Step<S> &step) {
  constexpr int lanes = Simd<S>::lanes;
  const int64_t H = call.hidden, plane = call.batch * H;
  const Shape shape = A::gap ? Shape{2 * H, 3 * H, H} : Shape{A::chunks * H, 0, 0};
  const int count = int(mine(call, t));
  for (int i = 0; i < count; i++) {
    const int64_t row = call.first + i * call.stride, packed = call.offsets[t] + row;
    const int64_t sequence = call.order[row], at = t * plane + sequence * H;
    Backward<S> one;
    one.gates = (const S *)call.gates + packed * A::chunks * H;
    one.extra = (const S *)call.extra + (call.extra ? packed * H : 0);
    one.h_before = (const S *)call.h + at;
    one.h = (const S *)call.h + at + plane;
    one.c_before = (const S *)call.c + (call.c ? at : 0);
    one.c = (const S *)call.c + (call.c ? at + plane : 0);
    one.shared = per_unit<S, A>(call);
    one.carry = step.carry[i] = (S *)call.carry + sequence * H;
    one.carry_c = A::memory ? (S *)call.carry_c + sequence * H : nullptr;
    step.deltas[i] = one.deltas = deltas + row * A::widths * H;
    one.total_c = call.total_c ? (S *)call.total_c + at : nullptr;
    const S *direct[2] = {
        call.direct ? (const S *)call.direct + t * call.direct_t + sequence * call.direct_b : nullptr,
        call.direct_c ? (const S *)call.direct_c + t * call.direct_c_t + sequence * call.direct_c_b : nullptr};
    if (call.direct && t > 1) prefetch<S>(call.direct, (t - 2) * call.direct_t + sequence * call.direct_b, H);
    S *const into[2] = {one.carry, one.carry_c};
    if (call.logs) {
      const int64_t place = t * call.batch + sequence;
      double &log = step.logs[i];
      call.logs[place] = log = renormalise<S>(into, direct, log, call.outside ? call.outside[place] : 0, H);
    } else {
      for (int part = 0; part < 2; part++)
        if (direct[part]) combine<S>(into[part], S(1), direct[part], S(1), H);
    }
    if (call.arriving) std::copy(one.carry, one.carry + H, (S *)call.arriving + at);
    int64_t unit = 0;
    for (; unit + lanes <= H; unit += lanes) A::backward(one, H, unit, lanes);
    if (unit < H) A::backward(one, H, unit, int(H - unit));
  }
  if constexpr (A::recurrent) {
    const S *panel = (const S *)call.panels + input_panels_backward<S, A>(call);
    each_panel<S, PANEL>(H, [&](auto side, int64_t start) {
      backward_panel<S, side>(step.carry, step.deltas.data(), count, panel, shape, H, start);
      panel += A::chunks * H * side * lanes;
    });
  }
}

// Rows of the steps of a block, the last step first.
template <class S> struct Rows {
  std::vector<const S *> deltas, x, before;
  std::vector<S *> of_x;
};

// `deltas`: those of step `t`, packed.
template <class S, class A>
void gather(const Call &call, int64_t t, int64_t to, int64_t first, int64_t stride, const S *deltas, Rows<S> &rows) {
  rows.deltas.clear(), rows.x.clear(), rows.before.clear(), rows.of_x.clear();
  const int64_t H = call.hidden, from = call.offsets[t];
  for (int64_t step = to - 1; step >= t; step--)
    for (int64_t row = first; row < call.offsets[step + 1] - call.offsets[step]; row += stride) {
      const int64_t sequence = call.order[row];
      rows.deltas.push_back(deltas + (call.offsets[step] - from + row) * A::widths * H);
      rows.x.push_back((const S *)call.x + step * call.x_t + sequence * call.x_b);
      rows.before.push_back((const S *)call.h + (step * call.batch + sequence) * H);
      rows.of_x.push_back((S *)call.of_x + (call.of_x ? step * call.of_x_t + sequence * call.of_x_b : 0));
    }
}

template <class S, class A> void input_gradients(const Call &call, const Rows<S> &rows) {
  constexpr int lanes = Simd<S>::lanes;
  const int64_t D = call.inputs, depth = A::chunks * call.hidden;
  const S *panel = (const S *)call.panels;
  each_panel<S, PANEL>(D, [&](auto side, int64_t start) {
    product<S, side>(rows.deltas.data(), int(rows.deltas.size()), panel, Shape{depth, 0, 0},
                     [&](int i, const Vec<S> *sums) {
                       for (int b = 0; b < side; b++) {
                         const int64_t column = start + b * lanes;
                         store<S>(rows.of_x[i] + column, sums[b], lanes_at(D, column, lanes));
                       }
                     });
    panel += depth * side * lanes;
  });
}

// Adds the rows' share to the weights' gradients; panels of these are shared out to `stride` threads.
template <class S, class A>
void weight_gradients(const Call &call, const Rows<S> &rows, int64_t first, int64_t stride) {
  constexpr int lanes = Simd<S>::lanes;
  static const S ones[1] = {1};
  static thread_local std::vector<Vec<S>> room;
  const std::vector<const S *> one(rows.deltas.size(), ones);
  const int64_t H = call.hidden, width = A::chunks * H, count = int64_t(rows.deltas.size());
  S *const packed = room_for<S>(room, count * PANEL * lanes);
  int64_t panel = 0;
  // Of `columns` of the deltas, that meet the columns of W and of U, or of one of them, from these places on.
  const auto add = [&](int64_t from, int64_t columns, void *of_w, void *of_u) {
    each_panel<S, PANEL>(columns, [&](auto side, int64_t start) {
      if (panel++ % stride != first) return;
      const int last = lanes_at(columns, start + (side - 1) * lanes, lanes);
      pack_rows<S, side>(rows.deltas, from + start, last, packed);
      const auto outer_of = [&](const std::vector<const S *> &a, int64_t size, void *out, int64_t apart) {
        outer<S, side>(a.data(), packed, count, size, (S *)out + start, apart, last);
      };
      outer_of(one, 1, (S *)call.of_bias + from, 0);
      if (of_w) outer_of(rows.x, call.inputs, of_w, width);
      if (of_u) outer_of(rows.before, H, of_u, width);
    });
  };
  if constexpr (A::gap) {
    S *const candidate = (S *)call.of_u + 2 * H;
    add(0, 2 * H, call.of_w, call.of_u);
    add(2 * H, H, (S *)call.of_w + 2 * H, nullptr);
    add(3 * H, H, nullptr, candidate);
  } else {
    add(0, width, call.of_w, A::recurrent ? call.of_u : nullptr);
  }
}

template <class S, class A> int64_t rows_backward(const Call &call) {
  return rows_of_block(A::widths * call.hidden * sizeof(S));
}

// Before any thread adds to them.
template <class S, class A> void clear_gradients(const Call &call) {
  const int64_t H = call.hidden, width = A::chunks * H;
  std::fill_n((S *)call.of_w, call.inputs * width, S(0));
  if (A::recurrent) std::fill_n((S *)call.of_u, H * width, S(0));
  std::fill_n((S *)call.of_bias, A::widths * H, S(0));
}

template <class S, class A> void backward(Call &call) {
  // Kept for the next call: fresh pages would cost more than a short walk.
  static thread_local std::vector<Vec<S>> scratch;
  if (!call.panels) pack_for_backward<S, A>(call);
  start<S>(call, call.last, call.carry);
  if (A::memory) start<S>(call, call.last_c, call.carry_c);
  if (call.of_w && call.first == 0) clear_gradients<S, A>(call);
  Step<S> step{std::vector<S *>(call.batch), std::vector<const S *>(call.batch), std::vector<double>(call.batch)};
  Rows<S> rows;
  const int64_t block = rows_backward<S, A>(call), width = A::widths * call.hidden;
  for (int64_t t, end = call.steps; end > 0; end = t) {
    t = block_begin(call, end, block);
    S *deltas = call.deltas ? (S *)call.deltas + call.offsets[t] * width
                            : room_for<S>(scratch, (call.offsets[end] - call.offsets[t]) * width);
    for (int64_t at = end - 1; at >= t; at--)
      step_backward<S, A>(call, at, deltas + (call.offsets[at] - call.offsets[t]) * width, step);
    // A thread beside others has not all rows' deltas: `gradients` follows.
    const bool of_weights = call.of_w && call.stride == 1;
    if (!call.of_x && !of_weights) continue;
    gather<S, A>(call, t, end, call.first, call.stride, deltas, rows);
    if (call.of_x) input_gradients<S, A>(call, rows);
    if (of_weights) weight_gradients<S, A>(call, rows, 0, 1);
  }
}

// The weights' gradients alone, after several threads have left all deltas: each thread makes panels of them.
template <class S, class A> void gradients(const Call &call) {
  Rows<S> rows;
  const int64_t block = rows_backward<S, A>(call), width = A::widths * call.hidden;
  for (int64_t t, end = call.steps; end > 0; end = t) {
    t = block_begin(call, end, block);
    gather<S, A>(call, t, end, 0, 1, (const S *)call.deltas + call.offsets[t] * width, rows);
    weight_gradients<S, A>(call, rows, call.first, call.stride);
  }
}
