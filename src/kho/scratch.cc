#include "kho/scratch.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/log.h"
#include "base/point.h"

namespace causeway::kho {
namespace {

constexpr PhysAddr kLowLimit{GiB(4)};

// Takes a number from the front of `text`: decimal, or hexadecimal after 0x.
Result<uint64_t> take_number(std::string_view& text) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  }
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{}) return fail(EINVAL, "kho_scratch: not a number");
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

// The same with a size suffix, as the kernel's memparse().
Result<uint64_t> take_size(std::string_view& text) {
  uint64_t value = CW_TRY(take_number(text));
  if (text.empty()) return value;
  unsigned shift = 0;
  switch (text.front()) {
    case 'k':
    case 'K':
      shift = 10;
      break;
    case 'm':
    case 'M':
      shift = 20;
      break;
    case 'g':
    case 'G':
      shift = 30;
      break;
    case 't':
    case 'T':
      shift = 40;
      break;
    default:
      return value;
  }
  text.remove_prefix(1);
  if (value > std::numeric_limits<uint64_t>::max() >> shift)
    return fail(EINVAL, "kho_scratch: size too large");
  return value << shift;
}

Status take_comma(std::string_view& text) {
  if (!text.starts_with(',')) return fail(EINVAL, "kho_scratch: want N% or LOW,GLOBAL,NODE");
  text.remove_prefix(1);
  return {};
}

// What the options ask for on this machine, in whole blocks; 0 = no such area.
struct AreaSizes {
  uint64_t low, global, node;
};

// `percent` of `bytes`, at least one block: an area that exists is never empty.
Result<uint64_t> scaled(uint64_t bytes, unsigned percent) {
  unsigned __int128 scaled_bytes = static_cast<unsigned __int128>(bytes) * percent / 100;
  if (scaled_bytes > std::numeric_limits<uint64_t>::max() / 2)
    return fail(ENOMEM, "scratch larger than memory");
  return std::max(align_up(static_cast<uint64_t>(scaled_bytes), kScratchAlignment), kScratchAlignment);
}

Result<AreaSizes> area_sizes(const mm::BootMemory& boot, const ScratchSizes& sizes) {
  if (sizes.absolute) {
    constexpr uint64_t kLargest = std::numeric_limits<uint64_t>::max() - kScratchAlignment;
    if (std::max({sizes.low, sizes.global, sizes.per_node}) > kLargest)
      return fail(ENOMEM, "scratch larger than memory");
    return AreaSizes{align_up(sizes.low, kScratchAlignment), align_up(sizes.global, kScratchAlignment),
                     align_up(sizes.per_node, kScratchAlignment)};
  }
  const uint64_t low = boot.reserved_bytes(kLowLimit);
  const uint64_t total = boot.reserved_bytes();
  return AreaSizes{CW_TRY(scaled(low, sizes.percent)),
                   CW_TRY(scaled(total - std::min(low, total), sizes.percent)),
                   CW_TRY(scaled(total, sizes.percent))};
}

}  // namespace

Result<ScratchSizes> parse_scratch_option(std::string_view text) {
  ScratchSizes sizes;
  if (text.ends_with('%')) {
    const uint64_t percent = CW_TRY(take_number(text));
    if (text != "%") return fail(EINVAL, "kho_scratch: characters between the number and %");
    if (percent == 0 || percent > 1'000'000) return fail(EINVAL, "kho_scratch: percentage out of range");
    sizes.percent = static_cast<unsigned>(percent);
    return sizes;
  }
  sizes.absolute = true;
  sizes.low = CW_TRY(take_size(text));
  CW_TRY(take_comma(text));
  sizes.global = CW_TRY(take_size(text));
  CW_TRY(take_comma(text));
  sizes.per_node = CW_TRY(take_size(text));
  if (!text.empty()) return fail(EINVAL, "kho_scratch: trailing characters");
  if (sizes.low == 0 && sizes.global == 0 && sizes.per_node == 0)
    return fail(EINVAL, "kho_scratch: all three sizes are zero");
  return sizes;
}

Result<std::vector<mm::MemRange>> reserve_scratch(mm::BootMemory& boot, const ScratchSizes& sizes) {
  const AreaSizes wanted = CW_TRY(area_sizes(boot, sizes));
  std::vector<mm::MemRange> areas;
  auto reserve_one = [&](const char* name, uint64_t size, PhysAddr limit) -> Status {
    if (size == 0) return {};
    CW_FAIL_POINT("kho.scratch.reserve");
    auto base = boot.allocate(size, kScratchAlignment, mm::BootMemory::Direction::kTopDown, limit);
    if (!base.has_value()) {
      log::warn("kho", "no {} bytes of free memory for the {} scratch area", size, name);
      return fail(ENOMEM, "scratch area does not fit into free memory");
    }
    areas.push_back({*base, size});
    return {};
  };
  constexpr PhysAddr kNoLimit{~uint64_t{0}};
  auto reserve_all = [&]() -> Status {
    CW_TRY(reserve_one("low", wanted.low, kLowLimit));
    CW_TRY(reserve_one("global", wanted.global, kNoLimit));
    return reserve_one("node", wanted.node, kNoLimit);
  };
  if (Status reserved = reserve_all(); !reserved.has_value()) {
    for (const mm::MemRange& area : areas) (void)boot.release(area);
    return fail(reserved.error());
  }
  return areas;
}

}  // namespace causeway::kho
