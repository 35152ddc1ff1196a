// Gradients beyond a float's range, stored as values near 1 and the logarithm of their scale.
#pragma once
#include <limits>

#include "panels.h"

template <class S> INLINE S largest(const S *values, int64_t H) {
  constexpr int lanes = Simd<S>::lanes;
  Vec<S> maximum = {};
  for (int64_t unit = 0; unit < H; unit += lanes) {
    const Vec<S> v = load<S>(values + unit, lanes_at(H, unit, lanes)), size = v < 0 ? -v : v;
    maximum = size > maximum ? size : maximum;
  }
  S most = 0;
  for (int lane = 0; lane < lanes; lane++) most = std::max(most, S(maximum[lane]));
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

// grads = grads·exp(log) + output_grads·exp(output_log), scaled so that no entry is above 2. Returns the logarithm of
// the new scale; 0 where both are 0.
template <class S>
INLINE double renormalise(S *const *grads, const S *const *output_grads, double log, double output_log, int64_t H) {
  const S tiny = std::numeric_limits<S>::min();
  S old = 0, incoming = 0;
  for (int part = 0; part < 2; part++) {
    if (grads[part]) old = std::max(old, largest(grads[part], H));
    if (output_grads[part]) incoming = std::max(incoming, largest(output_grads[part], H));
  }
  if (old == 0 && incoming == 0) return 0;
  const S by = std::max(old, tiny), new_by = std::max(incoming, tiny);
  const double log_old = old == 0 ? -INFINITY : log + std::log(double(by));
  const double log_new = incoming == 0 ? -INFINITY : output_log + std::log(double(new_by));
  const double common = std::max(log_old, log_new);
  const S weight = old == 0 ? S(1) : S(std::exp(log_old - common)) / by;
  const S new_weight = incoming == 0 ? S(0) : S(std::exp(log_new - common)) / new_by;
  for (int part = 0; part < 2; part++)
    if (grads[part]) combine<S>(grads[part], weight, incoming == 0 ? nullptr : output_grads[part], new_weight, H);
  return common;
}
