// One step of each architecture, forward and backward, for one vector of units. The equations are in the Python file
// of each cell. `gates` holds W x_t + b on entry of the forward step, which overwrites it with the gates that the
// backward step reads.
#pragma once
#include "simd.h"

// Pointers of one row of one step; chunks are `H` apart.
template <class S> struct Forward {
  S *gates, *extra, *h, *c;
  const S *h_before, *c_before, *parameters;
};

template <class S> struct Backward {
  const S *gates, *extra, *h, *c, *h_before, *c_before, *parameters;
  S *grad, *grad_c, *deltas;
  S *state_grad_c;  // receives ∂L/∂c_t in full; may be null
};

#define AT(pointer, chunk) ((pointer) + (chunk) * H + unit)
#define READ(pointer, chunk) load<S>(AT(pointer, chunk), lanes)
#define WRITE(pointer, chunk, values) store<S>(AT(pointer, chunk), values, lanes)

template <class S, bool relu> struct Plain {
  using V = Vec<S>;
  static constexpr int chunks = 1, widths = 1, gap = 0;  // of W and U; of deltas; of deltas that U does not produce
  static constexpr bool memory = false, recurrent = true;

  static INLINE void forward(const Forward<S> &row, const V *sums, int64_t H, int64_t unit, int lanes) {
    const V p = READ(row.gates, 0) + sums[0];
    const V h = relu ? (p < 0 ? V{} : p) : hyperbolic(p);
    WRITE(row.h, 0, h);
  }

  static INLINE void backward(const Backward<S> &row, int64_t H, int64_t unit, int lanes) {
    const V h = READ(row.h, 0), a = READ(row.grad, 0);
    WRITE(row.deltas, 0, relu ? (h > 0 ? a : V{}) : a * (1 - h * h));
    WRITE(row.grad, 0, V{});
  }
};

// torch's GRU: r, z (the share kept), n. `extra` is U_n h + b_n, `parameters` is b_n. Deltas: r, z, n, and n times r.
template <class S> struct GRU {
  using V = Vec<S>;
  static constexpr int chunks = 3, widths = 4, gap = 1;
  static constexpr bool memory = false, recurrent = true;

  static INLINE void forward(const Forward<S> &row, const V *sums, int64_t H, int64_t unit, int lanes) {
    const V r = sigmoid(READ(row.gates, 0) + sums[0]), z = sigmoid(READ(row.gates, 1) + sums[1]);
    const V q = sums[2] + READ(row.parameters, 0);
    const V n = hyperbolic(READ(row.gates, 2) + r * q);
    WRITE(row.gates, 0, r);
    WRITE(row.gates, 1, z);
    WRITE(row.gates, 2, n);
    WRITE(row.extra, 0, q);
    WRITE(row.h, 0, n + z * (READ(row.h_before, 0) - n));
  }

  static INLINE void backward(const Backward<S> &row, int64_t H, int64_t unit, int lanes) {
    const V r = READ(row.gates, 0), z = READ(row.gates, 1), n = READ(row.gates, 2);
    const V a = READ(row.grad, 0), written = a * (1 - z), to_n = written * (1 - n * n);
    WRITE(row.deltas, 0, to_n * READ(row.extra, 0) * r * (1 - r));
    WRITE(row.deltas, 1, (READ(row.h_before, 0) - n) * z * written);
    WRITE(row.deltas, 2, to_n);
    WRITE(row.deltas, 3, to_n * r);
    WRITE(row.grad, 0, a * z);
  }
};

// Gates i, f, g, o. With peepholes `parameters` holds those of i, f and o.
template <class S, bool peepholes> struct LSTM {
  using V = Vec<S>;
  static constexpr int chunks = 4, widths = 4, gap = 0;
  static constexpr bool memory = true, recurrent = true;

  static INLINE void forward(const Forward<S> &row, const V *sums, int64_t H, int64_t unit, int lanes) {
    V p_i = READ(row.gates, 0) + sums[0], p_f = READ(row.gates, 1) + sums[1], p_o = READ(row.gates, 3) + sums[3];
    const V before = READ(row.c_before, 0);
    if (peepholes) p_i += READ(row.parameters, 0) * before, p_f += READ(row.parameters, 1) * before;
    const V i = sigmoid(p_i), f = sigmoid(p_f), g = hyperbolic(READ(row.gates, 2) + sums[2]);
    const V c = f * before + i * g;
    if (peepholes) p_o += READ(row.parameters, 2) * c;
    const V o = sigmoid(p_o);
    WRITE(row.gates, 0, i);
    WRITE(row.gates, 1, f);
    WRITE(row.gates, 2, g);
    WRITE(row.gates, 3, o);
    WRITE(row.c, 0, c);
    WRITE(row.h, 0, o * hyperbolic(c));
  }

  static INLINE void backward(const Backward<S> &row, int64_t H, int64_t unit, int lanes) {
    const V i = READ(row.gates, 0), f = READ(row.gates, 1), g = READ(row.gates, 2), o = READ(row.gates, 3);
    const V a = READ(row.grad, 0), squashed = hyperbolic(READ(row.c, 0));
    const V to_o = a * squashed * o * (1 - o);
    V s = READ(row.grad_c, 0) + a * o * (1 - squashed * squashed);
    if (peepholes) s += to_o * READ(row.parameters, 2);
    if (row.state_grad_c) WRITE(row.state_grad_c, 0, s);
    const V to_i = s * g * i * (1 - i), to_f = s * READ(row.c_before, 0) * f * (1 - f);
    WRITE(row.deltas, 0, to_i);
    WRITE(row.deltas, 1, to_f);
    WRITE(row.deltas, 2, s * i * (1 - g * g));
    WRITE(row.deltas, 3, to_o);
    V kept = s * f;
    if (peepholes) kept += to_i * READ(row.parameters, 0) + to_f * READ(row.parameters, 1);
    WRITE(row.grad, 0, V{});
    WRITE(row.grad_c, 0, kept);
  }
};

// The activation of the candidate of minGRU and minLSTM.
template <class S> INLINE Vec<S> positive(Vec<S> x) {
  const Vec<S> below = sigmoid(x);
  return x >= 0 ? x + S(0.5) : below;
}

// The slope of `positive`, given its value.
template <class S> INLINE Vec<S> slope_of(Vec<S> candidate) {
  const Vec<S> one = Vec<S>{} + 1;
  return candidate >= S(0.5) ? one : candidate * (1 - candidate);
}

// No state enters a gate, so there is no U. `gates` becomes the share kept and the candidate, `extra` the share
// written.
template <class S> struct MinGRU {
  using V = Vec<S>;
  static constexpr int chunks = 2, widths = 2, gap = 0;
  static constexpr bool memory = false, recurrent = false;

  static INLINE void forward(const Forward<S> &row, const V *, int64_t H, int64_t unit, int lanes) {
    // Each share by its own sigmoid: 1 - keep is only rounding error where keep is near 1.
    const V p = READ(row.gates, 0), keep = sigmoid(-p), update = sigmoid(p);
    const V candidate = positive<S>(READ(row.gates, 1));
    WRITE(row.gates, 0, keep);
    WRITE(row.gates, 1, candidate);
    WRITE(row.extra, 0, update);
    WRITE(row.h, 0, keep * READ(row.h_before, 0) + update * candidate);
  }

  static INLINE void backward(const Backward<S> &row, int64_t H, int64_t unit, int lanes) {
    const V keep = READ(row.gates, 0), candidate = READ(row.gates, 1), a = READ(row.grad, 0);
    const V written = a * READ(row.extra, 0);
    WRITE(row.deltas, 0, (candidate - READ(row.h_before, 0)) * keep * written);
    WRITE(row.deltas, 1, written * slope_of<S>(candidate));
    WRITE(row.grad, 0, a * keep);
  }
};

// `gates` becomes the shares written and kept, i / (i + f) and f / (i + f), and the candidate; `extra` is i + f.
template <class S> struct MinLSTM {
  using V = Vec<S>;
  static constexpr int chunks = 3, widths = 3, gap = 0;
  static constexpr bool memory = false, recurrent = false;

  static INLINE void forward(const Forward<S> &row, const V *, int64_t H, int64_t unit, int lanes) {
    const V i = sigmoid(READ(row.gates, 0)), f = sigmoid(READ(row.gates, 1)), total = f + i, share = 1 / total;
    const V written = i * share, keep = f * share, candidate = positive<S>(READ(row.gates, 2));
    WRITE(row.gates, 0, written);
    WRITE(row.gates, 1, keep);
    WRITE(row.gates, 2, candidate);
    WRITE(row.extra, 0, total);
    WRITE(row.h, 0, keep * READ(row.h_before, 0) + written * candidate);
  }

  static INLINE void backward(const Backward<S> &row, int64_t H, int64_t unit, int lanes) {
    const V written = READ(row.gates, 0), keep = READ(row.gates, 1), candidate = READ(row.gates, 2);
    const V total = READ(row.extra, 0), a = READ(row.grad, 0), to_candidate = a * written;
    const V swapped = (candidate - READ(row.h_before, 0)) * keep * to_candidate;
    WRITE(row.deltas, 0, swapped * (1 - written * total));
    WRITE(row.deltas, 1, -swapped * (1 - keep * total));
    WRITE(row.deltas, 2, to_candidate * slope_of<S>(candidate));
    WRITE(row.grad, 0, a * keep);
  }
};
