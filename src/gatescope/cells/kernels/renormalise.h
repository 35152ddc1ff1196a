// Gradients that grow or fade beyond a float's range: numbers near 1, and the logarithm of their scale.
#pragma once
#include <limits>

#include "panels.h"

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
