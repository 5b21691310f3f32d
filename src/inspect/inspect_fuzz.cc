// libFuzzer entry: an image, decoded and rendered. Built by the preset `fuzz`; `make fuzz` runs it on testdata/corpus.
//
// The first byte of an input says what the rest is: 0, the bytes of an image file; 1 to 5, patches of a whole image that is
// built here, 12 bytes each, so that an input is short and most of its damage lies where a decoder gets to:
//   operation (1)  word of the image (3)  operand (8)
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "inspect/decode.h"
#include "inspect/render.h"
#include "inspect/testing/driver_example.h"
#include "inspect/testing/image_builder.h"
#include "inspect/testing/iommu_example.h"

namespace causeway::inspect {
namespace {

struct Patch {
  uint8_t operation;
  uint8_t word[3];
  uint8_t operand[8];
};
static_assert(sizeof(Patch) == 12);
constexpr size_t kMaxPatches = 64;

void decode_and_render(std::span<const std::byte> bytes) {
  auto image = ImageFile::from_bytes(bytes);
  if (!image.has_value()) return;
  Options options = options_for(*image);
  options.device = {0, Bdf(0, 1, 0)};
  const Report report = decode(image->memory(), options);
  // Strict: what is printed is UTF-8, whatever the image held.
  const std::string json = to_json(report).dump(-1, ' ', false, nlohmann::json::error_handler_t::strict);
  const std::string text = render_text(report, {});
  if (json.empty() || text.empty()) std::abort();
}

void apply_patch(const Patch& patch, std::vector<std::byte>& image) {
  uint64_t operand, value;
  std::memcpy(&operand, patch.operand, sizeof operand);
  const uint64_t word = patch.word[0] | patch.word[1] << 8 | patch.word[2] << 16;
  std::byte* place = image.data() + word % (image.size() / sizeof value) * sizeof value;
  std::memcpy(&value, place, sizeof value);
  switch (patch.operation % 4) {
    case 0: value = operand; break;
    case 1: value ^= operand; break;
    case 2: value += operand; break;
    // Another word of the image, such as the address of another structure.
    case 3: std::memcpy(&value, image.data() + operand % (image.size() / sizeof value) * sizeof value, sizeof value);
  }
  std::memcpy(place, &value, sizeof value);
}

const std::vector<std::byte>& whole_image(uint8_t which) {
  static const std::array<std::vector<std::byte>, 5> images{
      WorkedExample().core(), DriverExample().core(), DriverExample(kho::Format::kTyped).core(),
      IommuExample(IommuExample::Mode::kLegacy).core(), IommuExample(IommuExample::Mode::kScalable).core()};
  return images[which % images.size()];
}

}  // namespace
}  // namespace causeway::inspect

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace causeway::inspect;
  if (size == 0) return 0;
  const auto rest = std::as_bytes(std::span(data, size).subspan(1));
  if (data[0] == 0) {
    decode_and_render(rest);
    return 0;
  }
  std::vector<std::byte> image = whole_image(static_cast<uint8_t>(data[0] - 1));
  for (size_t at = 0; at + sizeof(Patch) <= std::min(rest.size(), kMaxPatches * sizeof(Patch)); at += sizeof(Patch)) {
    Patch patch;
    std::memcpy(&patch, rest.data() + at, sizeof patch);
    apply_patch(patch, image);
  }
  decode_and_render(image);
  return 0;
}
