// Vectors of the processor's width (a compiler extension) and the activation functions on them.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define ACCUMULATORS 24
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define ACCUMULATORS 12
#else
#define VECTOR_BYTES 16
#define ACCUMULATORS 12
#endif

#define INLINE inline __attribute__((always_inline))

template <class S> struct Simd {
  typedef S Vec __attribute__((vector_size(VECTOR_BYTES)));
  typedef S Unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(S)), may_alias));
  typedef S Aligned __attribute__((vector_size(VECTOR_BYTES), may_alias));
  static constexpr int lanes = VECTOR_BYTES / sizeof(S);
};
template <class S> using Vec = typename Simd<S>::Vec;

// Loads `lanes` numbers and sets the rest to 0. Memory past the end of a row is neither read nor written.
template <class S> INLINE Vec<S> load(const S *from, int lanes) {
  if (lanes == Simd<S>::lanes) return *reinterpret_cast<const typename Simd<S>::Unaligned *>(from);
  Vec<S> values = {};
  std::memcpy(&values, from, lanes * sizeof(S));
  return values;
}

template <class S> INLINE void store(S *to, Vec<S> values, int lanes) {
  if (lanes == Simd<S>::lanes)
    *reinterpret_cast<typename Simd<S>::Unaligned *>(to) = values;
  else
    std::memcpy(to, &values, lanes * sizeof(S));
}

// a * b + c, rounded once where the processor can. Left to the compiler, GCC's tuning for AMD's Zen rounds once for
// some numbers of rows and twice for others, and a row's result would depend on the other rows.
template <class S> INLINE Vec<S> multiply_add(Vec<S> a, Vec<S> b, Vec<S> c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(S) == 4)
    return (Vec<S>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
  else
    return (Vec<S>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX__) && defined(__FMA__)
  if constexpr (sizeof(S) == 4)
    return (Vec<S>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
  else
    return (Vec<S>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
  return a * b + c;
#endif
}

typedef Vec<float> F;
typedef int32_t I __attribute__((vector_size(VECTOR_BYTES)));

INLINE F clamp(F x, float low, float high) {
  x = x < low ? F{} + low : x;
  return x > high ? F{} + high : x;
}

// exp by Cody and Waite's reduction and Cephes' polynomial, relative error 2e-7; NaN stays NaN.
INLINE F exponential(F x) {
  const F bounded = clamp(x, -87.3f, 88.0f);
  const F magic = F{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const F n = (bounded * 1.44269504088896341f + magic) - magic;
  const F r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  F p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const F value = p * r * r + r + 1.0f;
  const I power = (__builtin_convertvector(n, I) + 127) << 23;
  return value * (F)power;
}

INLINE F sigmoid(F x) { return 1.0f / (1.0f + exponential(-x)); }

// Eigen's rational approximation, absolute error 4e-7.
INLINE F hyperbolic(F x) {
  const F c = clamp(x, -7.90531110763549805f, 7.90531110763549805f), s = c * c;
  F p = s * -2.76076847742355e-16f + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  F q = s * 1.19825839466702e-06f + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return c * p / q;
}

typedef Vec<double> D;

INLINE D sigmoid(D x) {
  for (int i = 0; i < Simd<double>::lanes; i++) x[i] = 1 / (1 + std::exp(-x[i]));
  return x;
}

INLINE D hyperbolic(D x) {
  for (int i = 0; i < Simd<double>::lanes; i++) x[i] = std::tanh(x[i]);
  return x;
}
