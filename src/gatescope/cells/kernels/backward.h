// The backward pass of one layer and direction for some rows of a batch, with the gradients of its inputs and weights.
#pragma once
#include "call.h"
#include "panels.h"
#include "product.h"
#include "renormalise.h"

template <class S, int side>
void backward_panel(const std::vector<S *> &grads, const S *const *deltas, int count, const S *panel,
                    const Shape &shape, int64_t H, int64_t start) {
  constexpr int lanes = Simd<S>::lanes;
  product<S, side>(deltas, count, panel, shape, [&](int i, const Vec<S> *sums) {
    for (int b = 0; b < side; b++) {
      const int64_t unit = start + b * lanes;
      const int some = lanes_at(H, unit, lanes);
      store<S>(grads[i] + unit, load<S>(grads[i] + unit, some) + sums[b], some);
    }
  });
}

// Returns the gradient at the output of one step of one sequence, or null.
template <class S> INLINE const S *output_grad_at(const Call &call, int64_t t, int64_t sequence) {
  if (!call.output_grad) return nullptr;
  return (const S *)call.output_grad + t * call.output_grad_stride_t + sequence * call.output_grad_stride_b;
}

template <class S> INLINE const S *output_grad_c_at(const Call &call, int64_t t, int64_t sequence) {
  if (!call.output_grad_c) return nullptr;
  return (const S *)call.output_grad_c + t * call.output_grad_c_stride_t + sequence * call.output_grad_c_stride_b;
}

// Consecutive steps of the output gradients are far apart in memory, so each row is prefetched two steps ahead.
template <class S> INLINE void prefetch(const S *row, int64_t H) {
  for (int64_t byte = 0; byte < H * int64_t(sizeof(S)); byte += 64) __builtin_prefetch((const char *)row + byte);
}

template <class S, class A> int64_t input_panels_backward(const Call &call) {
  return call.x_grad ? packed_backward_size<S>(A::chunks * call.hidden, call.inputs) : 0;
}

// Packs W, where the gradients of the inputs are requested, and U after it, in a buffer of the calling thread.
template <class S, class A> void pack_for_backward(Call &call) {
  static thread_local std::vector<Vec<S>> buffer;
  const int64_t H = call.hidden, w_size = input_panels_backward<S, A>(call);
  S *const panels = aligned_buffer<S>(buffer, w_size + (A::recurrent ? packed_backward_size<S>(A::chunks * H, H) : 0));
  if (call.x_grad) pack_backward<S>((const S *)call.w, A::chunks * H, call.inputs, panels);
  if (A::recurrent) pack_backward<S>((const S *)call.u, A::chunks * H, H, panels + w_size);
  call.panels = panels;
}

// Buffers that all steps share.
template <class S> struct Step {
  std::vector<S *> grads;
  std::vector<const S *> deltas;
  std::vector<double> log_scales;
};

// Runs step `t` backward and writes its packed deltas to `deltas`.
template <class S, class A> void step_backward(const Call &call, int64_t t, S *deltas, Step<S> &step) {
  constexpr int lanes = Simd<S>::lanes;
  const int64_t H = call.hidden, plane = call.batch * H;
  const Shape shape = A::gap ? Shape{2 * H, 3 * H, H} : Shape{A::chunks * H, 0, 0};
  const int count = int(own_rows(call, t));
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
    one.parameters = unit_parameters<S, A>(call);
    one.grad = step.grads[i] = (S *)call.initial_grad + sequence * H;
    one.grad_c = A::memory ? (S *)call.initial_grad_c + sequence * H : nullptr;
    step.deltas[i] = one.deltas = deltas + row * A::widths * H;
    one.state_grad_c = call.state_grad_c ? (S *)call.state_grad_c + at : nullptr;
    const S *output_grads[2] = {output_grad_at<S>(call, t, sequence), output_grad_c_at<S>(call, t, sequence)};
    if (call.output_grad && t > 1) prefetch<S>(output_grad_at<S>(call, t - 2, sequence), H);
    S *const state_grads[2] = {one.grad, one.grad_c};
    if (call.log_scale) {
      const int64_t place = t * call.batch + sequence;
      double &log = step.log_scales[i];
      const double output_log = call.output_grad_log_scale ? call.output_grad_log_scale[place] : 0;
      call.log_scale[place] = log = renormalise<S>(state_grads, output_grads, log, output_log, H);
    } else {
      for (int part = 0; part < 2; part++)
        if (output_grads[part]) combine<S>(state_grads[part], S(1), output_grads[part], S(1), H);
    }
    if (call.state_grad) std::copy(one.grad, one.grad + H, (S *)call.state_grad + at);
    int64_t unit = 0;
    for (; unit + lanes <= H; unit += lanes) A::backward(one, H, unit, lanes);
    if (unit < H) A::backward(one, H, unit, int(H - unit));
  }
  if constexpr (A::recurrent) {
    const S *panel = (const S *)call.panels + input_panels_backward<S, A>(call);
    each_panel<S, PANEL>(H, [&](auto side, int64_t start) {
      backward_panel<S, side>(step.grads, step.deltas.data(), count, panel, shape, H, start);
      panel += A::chunks * H * side * lanes;
    });
  }
}

// Pointers to the rows of a block, last step first.
template <class S> struct Rows {
  std::vector<const S *> deltas, x, before;
  std::vector<S *> x_grad;
};

// Collects the rows of steps `t` … `to` - 1. `deltas`: the packed deltas, from those of step `t` on.
template <class S, class A>
void gather(const Call &call, int64_t t, int64_t to, int64_t first, int64_t stride, const S *deltas, Rows<S> &rows) {
  rows.deltas.clear(), rows.x.clear(), rows.before.clear(), rows.x_grad.clear();
  const int64_t H = call.hidden, from = call.offsets[t];
  for (int64_t step = to - 1; step >= t; step--)
    for (int64_t row = first; row < call.offsets[step + 1] - call.offsets[step]; row += stride) {
      const int64_t sequence = call.order[row];
      rows.deltas.push_back(deltas + (call.offsets[step] - from + row) * A::widths * H);
      rows.x.push_back((const S *)call.x + step * call.x_stride_t + sequence * call.x_stride_b);
      rows.before.push_back((const S *)call.h + (step * call.batch + sequence) * H);
      const int64_t x_grad_at = step * call.x_grad_stride_t + sequence * call.x_grad_stride_b;
      rows.x_grad.push_back((S *)call.x_grad + (call.x_grad ? x_grad_at : 0));
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
                         store<S>(rows.x_grad[i] + column, sums[b], lanes_at(D, column, lanes));
                       }
                     });
    panel += depth * side * lanes;
  });
}

// Adds the rows' contribution to the gradients of the weights. `stride` threads divide the panels among them.
template <class S, class A>
void weight_gradients(const Call &call, const Rows<S> &rows, int64_t first, int64_t stride) {
  constexpr int lanes = Simd<S>::lanes;
  static const S ones[1] = {1};
  static thread_local std::vector<Vec<S>> buffer;
  const std::vector<const S *> one(rows.deltas.size(), ones);
  const int64_t H = call.hidden, width = A::chunks * H, count = int64_t(rows.deltas.size());
  S *const packed = aligned_buffer<S>(buffer, count * PANEL * lanes);
  int64_t panel = 0;
  // Adds the products of `columns` columns of the deltas, from `from` on, with x and with h_{t-1}. A null pointer
  // omits the gradient.
  const auto add = [&](int64_t from, int64_t columns, void *w_grad, void *u_grad) {
    each_panel<S, PANEL>(columns, [&](auto side, int64_t start) {
      if (panel++ % stride != first) return;
      const int last = lanes_at(columns, start + (side - 1) * lanes, lanes);
      pack_rows<S, side>(rows.deltas, from + start, last, packed);
      const auto add_outer = [&](const std::vector<const S *> &a, int64_t size, void *out, int64_t apart) {
        outer<S, side>(a.data(), packed, count, size, (S *)out + start, apart, last);
      };
      add_outer(one, 1, (S *)call.bias_grad + from, 0);
      if (w_grad) add_outer(rows.x, call.inputs, w_grad, width);
      if (u_grad) add_outer(rows.before, H, u_grad, width);
    });
  };
  if constexpr (A::gap) {
    S *const candidate = (S *)call.u_grad + 2 * H;
    add(0, 2 * H, call.w_grad, call.u_grad);
    add(2 * H, H, (S *)call.w_grad + 2 * H, nullptr);
    add(3 * H, H, nullptr, candidate);
  } else {
    add(0, width, call.w_grad, A::recurrent ? call.u_grad : nullptr);
  }
}

template <class S, class A> int64_t rows_backward(const Call &call) {
  return rows_per_block(A::widths * call.hidden * sizeof(S));
}

// Sets the gradients to zero before any thread adds to them.
template <class S, class A> void clear_gradients(const Call &call) {
  const int64_t H = call.hidden, width = A::chunks * H;
  std::fill_n((S *)call.w_grad, call.inputs * width, S(0));
  if (A::recurrent) std::fill_n((S *)call.u_grad, H * width, S(0));
  std::fill_n((S *)call.bias_grad, A::widths * H, S(0));
}

template <class S, class A> void backward(Call &call) {
  // Kept for the next call: new pages would cost more than a short pass.
  static thread_local std::vector<Vec<S>> scratch;
  if (!call.panels) pack_for_backward<S, A>(call);
  initialise<S>(call, call.last_grad, call.initial_grad);
  if (A::memory) initialise<S>(call, call.last_grad_c, call.initial_grad_c);
  if (call.w_grad && call.first == 0) clear_gradients<S, A>(call);
  Step<S> step{std::vector<S *>(call.batch), std::vector<const S *>(call.batch), std::vector<double>(call.batch)};
  Rows<S> rows;
  const int64_t block = rows_backward<S, A>(call), width = A::widths * call.hidden;
  for (int64_t t, end = call.steps; end > 0; end = t) {
    t = block_begin(call, end, block);
    S *deltas = call.deltas ? (S *)call.deltas + call.offsets[t] * width
                            : aligned_buffer<S>(scratch, (call.offsets[end] - call.offsets[t]) * width);
    for (int64_t at = end - 1; at >= t; at--)
      step_backward<S, A>(call, at, deltas + (call.offsets[at] - call.offsets[t]) * width, step);
    // One of several threads does not have the deltas of all rows: `gradients` is called afterwards.
    const bool weight_grads = call.w_grad && call.stride == 1;
    if (!call.x_grad && !weight_grads) continue;
    gather<S, A>(call, t, end, call.first, call.stride, deltas, rows);
    if (call.x_grad) input_gradients<S, A>(call, rows);
    if (weight_grads) weight_gradients<S, A>(call, rows, 0, 1);
  }
}

// Computes the gradients of the weights after several threads have written all deltas, some panels per thread.
template <class S, class A> void gradients(const Call &call) {
  Rows<S> rows;
  const int64_t block = rows_backward<S, A>(call), width = A::widths * call.hidden;
  for (int64_t t, end = call.steps; end > 0; end = t) {
    t = block_begin(call, end, block);
    gather<S, A>(call, t, end, 0, 1, (const S *)call.deltas + call.offsets[t] * width, rows);
    weight_gradients<S, A>(call, rows, call.first, call.stride);
  }
}
