// The forward pass of one layer and direction for some rows of a batch.
#pragma once
#include "call.h"
#include "panels.h"
#include "product.h"

template <class S, class A> std::vector<S> both_biases(const Call &call) {
  const S *bias = (const S *)call.bias, *more = (const S *)call.recurrent_bias;
  std::vector<S> sum(bias, bias + A::chunks * call.hidden);
  // The bias that a GRU's reset gate multiplies is added in its step.
  for (int64_t i = 0; more && i < (A::chunks - A::gap) * call.hidden; i++) sum[i] += more[i];
  return sum;
}

template <class S, class A> int64_t input_panels_forward(const Call &call) {
  return packed_forward_size<S>(A::chunks, call.hidden, call.inputs);
}

// Packs W and U, one after the other, in a buffer of the calling thread.
template <class S, class A> void pack_for_forward(Call &call) {
  static thread_local std::vector<Vec<S>> buffer;
  const int64_t H = call.hidden, w_size = input_panels_forward<S, A>(call);
  S *const panels = aligned_buffer<S>(buffer, w_size + (A::recurrent ? packed_forward_size<S>(A::chunks, H, H) : 0));
  pack_forward<S, A>((const S *)call.w, H, call.inputs, panels);
  if (A::recurrent) pack_forward<S, A>((const S *)call.u, H, H, panels + w_size);
  call.panels = panels;
}

// Writes zeros at the padding of (T + 1, B, H).
template <class S> void clear_padding(const Call &call, void *states) {
  const int64_t H = call.hidden;
  for (int64_t t = 0; t < call.steps; t++)
    for (int64_t row = call.first + own_rows(call, t) * call.stride; row < call.batch; row += call.stride)
      std::fill_n((S *)states + ((t + 1) * call.batch + call.order[row]) * H, H, S(0));
}

// Computes W x_t and all biases, which do not depend on the state, for steps t … to - 1. `gates`: the packed gates of
// step `t` and those after it.
template <class S, class A>
void project(const Call &call, int64_t t, int64_t to, const S *bias, S *gates, std::vector<const S *> &x,
             std::vector<S *> &projected) {
  constexpr int lanes = Simd<S>::lanes;
  const int64_t H = call.hidden, from = call.offsets[t];
  x.clear(), projected.clear();
  for (; t < to; t++)
    for (int64_t row = call.first; row < call.offsets[t + 1] - call.offsets[t]; row += call.stride) {
      x.push_back((const S *)call.x + t * call.x_stride_t + call.order[row] * call.x_stride_b);
      projected.push_back(gates + (call.offsets[t] - from + row) * A::chunks * H);
    }
  const S *panel = (const S *)call.panels;
  each_panel<S, blocks_of<A>>(H, [&](auto side, int64_t start) {
    const Shape shape{call.inputs, 0, 0};
    product<S, A::chunks * side>(x.data(), int(x.size()), panel, shape, [&](int i, const Vec<S> *sums) {
      for (int g = 0; g < A::chunks; g++)
        for (int b = 0; b < side; b++) {
          const int64_t unit = start + b * lanes;
          const int some = lanes_at(H, unit, lanes);
          store<S>(projected[i] + g * H + unit, sums[g * side + b] + load<S>(bias + g * H + unit, some), some);
        }
    });
    panel += call.inputs * A::chunks * side * lanes;
  });
}

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

// Runs step `t`. `gates` and `extra`: its packed rows.
template <class S, class A>
void step_forward(const Call &call, int64_t t, S *gates, S *extra, std::vector<Forward<S>> &rows,
                  std::vector<const S *> &before) {
  constexpr int lanes = Simd<S>::lanes;
  const int64_t H = call.hidden, plane = call.batch * H;
  const int count = int(own_rows(call, t));
  for (int i = 0; i < count; i++) {
    const int64_t row = call.first + i * call.stride, at = t * plane + call.order[row] * H;
    Forward<S> &one = rows[i];
    one.gates = gates + row * A::chunks * H;
    one.extra = extra + row * H;
    one.h_before = before[i] = (S *)call.h + at;
    one.h = (S *)call.h + at + plane;
    one.c_before = (S *)call.c + (call.c ? at : 0);
    one.c = (S *)call.c + (call.c ? at + plane : 0);
    one.parameters = unit_parameters<S, A>(call);
  }
  if constexpr (A::recurrent) {
    const S *panel = (const S *)call.panels + input_panels_forward<S, A>(call);
    each_panel<S, blocks_of<A>>(H, [&](auto side, int64_t start) {
      forward_panel<S, A, side>(rows, before.data(), count, panel, H, start);
      panel += H * A::chunks * side * lanes;
    });
  } else {
    for (int i = 0; i < count; i++)
      for (int64_t unit = 0; unit < H; unit += lanes)
        A::forward(rows[i], nullptr, H, unit, lanes_at(H, unit, lanes));
  }
}

template <class S, class A> void forward(Call &call) {
  if (!call.panels) pack_for_forward<S, A>(call);
  initialise<S>(call, call.initial, call.h), clear_padding<S>(call, call.h);
  if (A::memory) initialise<S>(call, call.initial_c, call.c), clear_padding<S>(call, call.c);
  static thread_local std::vector<Vec<S>> scratch;
  const std::vector<S> bias = both_biases<S, A>(call);
  std::vector<Forward<S>> rows(call.batch);
  std::vector<const S *> before(call.batch), x;
  std::vector<S *> projected;
  const int64_t width = A::chunks * call.hidden, block = rows_per_block(width * sizeof(S));
  for (int64_t t = 0, end; t < call.steps; t = end) {
    end = block_end(call, t, block);
    const int64_t from = call.offsets[t], count = call.offsets[end] - from;
    // Without a buffer from the caller, each block overwrites the gates of the one before it.
    const size_t needed = (call.gates ? 0 : count * width) + (call.extra ? 0 : count * call.hidden);
    S *const temporary = aligned_buffer<S>(scratch, needed);
    S *gates = call.gates ? (S *)call.gates + from * width : temporary;
    S *extra = call.extra ? (S *)call.extra + from * call.hidden : temporary + needed - count * call.hidden;
    project<S, A>(call, t, end, bias.data(), gates, x, projected);
    for (int64_t step = t; step < end; step++) {
      const int64_t row = call.offsets[step] - from;
      step_forward<S, A>(call, step, gates + row * width, extra + row * call.hidden, rows, before);
    }
  }
}
