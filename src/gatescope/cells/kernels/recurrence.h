// The functions that the library exports for each architecture and type.
#pragma once
#include "backward.h"
#include "forward.h"
#include "subnormals.h"

#define EXPORT(name, S, ...)                                                                              \
  extern "C" void name##_pack_forward(Call *call) { pack_for_forward<S, __VA_ARGS__>(*call); }             \
  extern "C" void name##_forward(Call *call) {                                                            \
    const FlushSubnormals flush(true);                                                                    \
    forward<S, __VA_ARGS__>(*call);                                                                       \
  }                                                                                                       \
  extern "C" void name##_pack_backward(Call *call) { pack_for_backward<S, __VA_ARGS__>(*call); }           \
  /* With scales, what is subnormal is scaled up. */                                                      \
  extern "C" void name##_backward(Call *call) {                                                           \
    const FlushSubnormals flush(!call->log_scale);                                                        \
    backward<S, __VA_ARGS__>(*call);                                                                      \
  }                                                                                                       \
  extern "C" void name##_gradients(Call *call) {                                                          \
    const FlushSubnormals flush(!call->log_scale);                                                        \
    gradients<S, __VA_ARGS__>(*call);                                                                     \
  }

#define EXPORT_ALL(type, S)                                                                               \
  EXPORT(tanh_##type, S, Plain<S, false>)                                                                 \
  EXPORT(relu_##type, S, Plain<S, true>)                                                                  \
  EXPORT(gru_##type, S, GRU<S>)                                                                           \
  EXPORT(lstm_##type, S, LSTM<S, false>)                                                                  \
  EXPORT(peephole_##type, S, LSTM<S, true>)                                                               \
  EXPORT(mingru_##type, S, MinGRU<S>)                                                                     \
  EXPORT(minlstm_##type, S, MinLSTM<S>)
