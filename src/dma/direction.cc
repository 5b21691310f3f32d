#include "dma/direction.h"

namespace causeway::dma {

const char* name_of(Direction direction) {
  switch (direction) {
    case Direction::kBidirectional:
      return "DMA_BIDIRECTIONAL";
    case Direction::kToDevice:
      return "DMA_TO_DEVICE";
    case Direction::kFromDevice:
      return "DMA_FROM_DEVICE";
    case Direction::kNone:
      return "DMA_NONE";
  }
  return "an invalid direction";
}

}  // namespace causeway::dma
