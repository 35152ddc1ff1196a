// What the library offers of each architecture and type.
#pragma once
#include "backward.h"
#include "forward.h"

// W (chunks·H, D) and U (chunks·H, H), one behind the other; either may be null.
template <class S, class A> void pack_for_forward(const S *w, const S *u, int64_t D, int64_t H, S *to) {
  if (w) to = pack_forward<S, A>(w, H, D, to);
  if (u) pack_forward<S, A>(u, H, H, to);
}

template <class S, class A> void pack_for_backward(const S *w, const S *u, int64_t D, int64_t H, S *to) {
  if (w) to = pack_backward<S>(w, A::chunks * H, D, to);
  if (u) pack_backward<S>(u, A::chunks * H, H, to);
}

#define EXPORT(name, S, ...)                                                                              \
  extern "C" void name##_forward(const Call *call) { forward<S, __VA_ARGS__>(*call); }                    \
  extern "C" void name##_backward(const Call *call) { backward<S, __VA_ARGS__>(*call); }                  \
  extern "C" void name##_gradients(const Call *call) { gradients<S, __VA_ARGS__>(*call); }                \
  extern "C" void name##_pack_forward(const S *w, const S *u, int64_t D, int64_t H, S *to) {              \
    pack_for_forward<S, __VA_ARGS__>(w, u, D, H, to);                                                     \
  }                                                                                                       \
  extern "C" void name##_pack_backward(const S *w, const S *u, int64_t D, int64_t H, S *to) {             \
    pack_for_backward<S, __VA_ARGS__>(w, u, D, H, to);                                                    \
  }

#define EXPORT_ALL(type, S)                                                                               \
  EXPORT(tanh_##type, S, Plain<S, false>)                                                                 \
  EXPORT(relu_##type, S, Plain<S, true>)                                                                  \
  EXPORT(gru_##type, S, GRU<S>)                                                                           \
  EXPORT(lstm_##type, S, LSTM<S, false>)                                                                  \
  EXPORT(peephole_##type, S, LSTM<S, true>)                                                               \
  EXPORT(mingru_##type, S, MinGRU<S>)                                                                     \
  EXPORT(minlstm_##type, S, MinLSTM<S>)                                                                   \
  extern "C" int64_t forward_size_##type(int64_t chunks, int64_t H, int64_t depth) {                      \
    return packed_forward_size<S>(chunks, H, depth);                                                      \
  }                                                                                                       \
  extern "C" int64_t backward_size_##type(int64_t rows, int64_t width) {                                  \
    return packed_backward_size<S>(rows, width);                                                          \
  }
