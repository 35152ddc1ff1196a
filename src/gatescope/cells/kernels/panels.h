// Weights in the order in which a product reads them: panels of some vectors of columns, row after row.
#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include "simd.h"

constexpr int PANEL = 4;  // vectors of a panel at most

template <class S> int64_t vectors(int64_t width) { return (width + Simd<S>::lanes - 1) / Simd<S>::lanes; }

INLINE int lanes_at(int64_t width, int64_t column, int lanes) { return int(std::min<int64_t>(lanes, width - column)); }

// then(vectors of the panel as a constant, its first column), for every panel of `width` columns.
template <class S, int most, class Then> INLINE void each_panel(int64_t width, Then then) {
  for (int64_t block = 0; block < vectors<S>(width); block += most) {
    const int64_t side = std::min<int64_t>(most, vectors<S>(width) - block), column = block * Simd<S>::lanes;
    if (side == 1) then(std::integral_constant<int, 1>(), column);
    if constexpr (most > 1)
      if (side == 2) then(std::integral_constant<int, 2>(), column);
    if constexpr (most > 2)
      if (side == 3) then(std::integral_constant<int, 3>(), column);
    if constexpr (most > 3)
      if (side == 4) then(std::integral_constant<int, 4>(), column);
  }
}

// Units side by side in a panel of the forward walk: all chunks of a unit are in one, so that its step can
// follow at once.
template <class A> constexpr int blocks_of = A::chunks == 1 ? PANEL : 1;

// (chunks·H, depth), to be multiplied from the right, transposed.
template <class S, class A> S *pack_forward(const S *weights, int64_t H, int64_t depth, S *to) {
  constexpr int lanes = Simd<S>::lanes;
  each_panel<S, blocks_of<A>>(H, [&](auto side, int64_t start) {
    const int64_t columns = A::chunks * side * lanes;
    for (int64_t column = 0; column < columns; column++) {
      const int64_t chunk = column / (side * lanes), unit = start + column % (side * lanes);
      const S *row = weights + (chunk * H + unit) * depth;
      for (int64_t k = 0; k < depth; k++) to[k * columns + column] = unit < H ? row[k] : S(0);
    }
    to += depth * columns;
  });
  return to;
}

// (rows, width), to be multiplied from the right as it is.
template <class S> S *pack_backward(const S *weights, int64_t rows, int64_t width, S *to) {
  constexpr int lanes = Simd<S>::lanes;
  each_panel<S, PANEL>(width, [&](auto side, int64_t start) {
    for (int64_t k = 0; k < rows; k++)
      for (int64_t column = start; column < start + side * lanes; column++)
        *to++ = column < width ? weights[k * width + column] : S(0);
  });
  return to;
}

// Columns `from` … of rows that lie anywhere, `V` vectors wide, `last` lanes of the last one.
template <class S, int V> void pack_rows(const std::vector<const S *> &rows, int64_t from, int last, S *to) {
  constexpr int lanes = Simd<S>::lanes;
  for (const S *row : rows)
    for (int v = 0; v < V; v++, to += lanes)
      *reinterpret_cast<typename Simd<S>::Aligned *>(to) = load<S>(row + from + v * lanes, v == V - 1 ? last : lanes);
}

// At least `count` numbers, where a vector begins.
template <class S> S *room_for(std::vector<Vec<S>> &room, size_t count) {
  const size_t needed = (count + Simd<S>::lanes - 1) / Simd<S>::lanes;
  if (room.size() < needed) room.resize(needed);
  return reinterpret_cast<S *>(room.data());
}

// The numbers of one packed copy: of (chunks·H, depth) forwards, of (rows, width) backwards.
template <class S> int64_t packed_forward_size(int64_t chunks, int64_t H, int64_t depth) {
  return chunks * depth * vectors<S>(H) * Simd<S>::lanes;
}

template <class S> int64_t packed_backward_size(int64_t rows, int64_t width) {
  return rows * vectors<S>(width) * Simd<S>::lanes;
}
