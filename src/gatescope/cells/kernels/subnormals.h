// Subnormal numbers as zeros: arithmetic with them takes many times longer, and gradients that vanish consist of them.
#pragma once
#include <cstdint>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

// While it exists, the calling thread treats subnormal operands and results as zeros, if `active`.
class FlushSubnormals {
#if defined(__SSE__)
  static constexpr unsigned FLUSH = 0x8040;  // flush to zero, and denormals are zeros
  const unsigned before = _mm_getcsr();

public:
  explicit FlushSubnormals(bool active) { if (active) _mm_setcsr(before | FLUSH); }
  ~FlushSubnormals() { _mm_setcsr(before); }
#elif defined(__aarch64__)
  static constexpr uint64_t FLUSH = 1 << 24;
  uint64_t before;
  static void set(uint64_t value) { asm volatile("msr fpcr, %0" : : "r"(value) : "memory"); }

public:
  explicit FlushSubnormals(bool active) {
    asm volatile("mrs %0, fpcr" : "=r"(before));
    if (active) set(before | FLUSH);
  }
  ~FlushSubnormals() { set(before); }
#else
public:
  explicit FlushSubnormals(bool) {}
#endif
};
