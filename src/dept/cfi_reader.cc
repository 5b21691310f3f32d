#include "dept/cfi_reader.h"

namespace causeway::dept {
namespace {

// DW_EH_PE_*: how a pointer is stored, what it is relative to.
constexpr uint8_t kFormatMask = 0x0f, kRelativeMask = 0x70, kIndirect = 0x80, kOmitted = 0xff;
constexpr uint8_t kAbsolute = 0x00, kUleb = 0x01, kU2 = 0x02, kU4 = 0x03, kU8 = 0x04, kSleb = 0x09, kS2 = 0x0a,
                  kS4 = 0x0b, kS8 = 0x0c;
constexpr uint8_t kPcRelative = 0x10, kDataRelative = 0x30;
// The form every linker writes: sorted pairs of 32-bit offsets from the table's own beginning.
constexpr uint8_t kSortedTable = kDataRelative | kS4;

constexpr uint64_t kMaxEntry = 1u << 24;  // bytes of one description; the largest seen are some thousands

struct TableEntry {
  int32_t begin;
  int32_t description;
};

// The entry at `at` without its length, empty if that is 0 or absurd.
CfiReader entry_at(const uint8_t* at) {
  uint32_t length;
  __builtin_memcpy(&length, at, sizeof length);
  if (length > kMaxEntry) length = 0;
  return {at + sizeof length, at + sizeof length + length};
}

bool read_common(const uint8_t* at, FrameDescription* found, bool* has_augmentation_data) {
  CfiReader reader = entry_at(at);
  uint32_t length;
  __builtin_memcpy(&length, at, sizeof length);
  const uint8_t* const end = at + sizeof length + length;
  if (reader.fixed<uint32_t>() != 0) return false;
  const uint8_t version = reader.fixed<uint8_t>();
  if (version != 1 && version != 3) return false;
  const uint8_t* augmentation = reader.position();
  while (!reader.at_end() && reader.fixed<uint8_t>() != 0) {}
  found->code_align = reader.uleb();
  found->data_align = reader.sleb();
  found->return_address = version == 1 ? reader.fixed<uint8_t>() : reader.uleb();
  found->pointer_encoding = kAbsolute;
  found->is_signal = false;
  *has_augmentation_data = *augmentation == 'z';
  if (*augmentation != 0 && *augmentation != 'z') return false;
  const uint8_t* instructions = reader.position();
  if (*augmentation == 'z') {
    const uint64_t size = reader.uleb();
    instructions = reader.position() + size;
    for (++augmentation; *augmentation != 0; ++augmentation) {
      switch (*augmentation) {
        case 'L': reader.fixed<uint8_t>(); break;
        case 'P': reader.encoded(reader.fixed<uint8_t>() & static_cast<uint8_t>(~kIndirect), 0); break;
        case 'R': found->pointer_encoding = reader.fixed<uint8_t>(); break;
        case 'S': found->is_signal = true; break;
        default: return false;
      }
    }
  }
  found->initial = instructions;
  found->initial_end = end;
  return instructions <= end;
}

}  // namespace

uint64_t CfiReader::uleb() {
  uint64_t value = 0;
  for (unsigned shift = 0; at_ < end_; shift += 7) {
    const uint8_t byte = *at_++;
    if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) break;
  }
  return value;
}

int64_t CfiReader::sleb() {
  uint64_t value = 0;
  for (unsigned shift = 0; at_ < end_;) {
    const uint8_t byte = *at_++;
    if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
    shift += 7;
    if ((byte & 0x80) != 0) continue;
    if ((byte & 0x40) != 0 && shift < 64) value |= ~uint64_t{0} << shift;
    break;
  }
  return static_cast<int64_t>(value);
}

uintptr_t CfiReader::encoded(uint8_t encoding, uintptr_t data) {
  if (encoding == kOmitted) return 0;
  const uintptr_t here = reinterpret_cast<uintptr_t>(at_);
  uint64_t value = 0;
  switch (encoding & kFormatMask) {
    case kAbsolute:
    case kU8:
    case kS8: value = fixed<uint64_t>(); break;
    case kU2: value = fixed<uint16_t>(); break;
    case kU4: value = fixed<uint32_t>(); break;
    case kS2: value = static_cast<uint64_t>(fixed<int16_t>()); break;
    case kS4: value = static_cast<uint64_t>(static_cast<int64_t>(fixed<int32_t>())); break;
    case kUleb: value = uleb(); break;
    case kSleb: value = static_cast<uint64_t>(sleb()); break;
    default: at_ = end_; return 0;
  }
  if (value == 0) return 0;
  if ((encoding & kRelativeMask) == kPcRelative) value += here;
  if ((encoding & kRelativeMask) == kDataRelative) value += data;
  if ((encoding & kIndirect) != 0) value = *reinterpret_cast<const uint64_t*>(value);
  return value;
}

void CfiReader::skip(uint64_t bytes) {
  at_ = bytes < static_cast<uint64_t>(end_ - at_) ? at_ + bytes : end_;
}

bool find_description(const uint8_t* frame_table, uintptr_t pc, FrameDescription* found) {
  if (frame_table == nullptr || frame_table[0] != 1 || frame_table[3] != kSortedTable) return false;
  const uintptr_t base = reinterpret_cast<uintptr_t>(frame_table);
  CfiReader header(frame_table + 4, frame_table + 32);
  header.encoded(frame_table[1], base);
  const uint64_t count = header.encoded(frame_table[2], base);
  const uint8_t* const entries = header.position();
  const auto entry = [&](uint64_t index) {
    TableEntry value;
    __builtin_memcpy(&value, entries + index * sizeof value, sizeof value);
    return value;
  };
  // The last one that begins at or before pc.
  uint64_t low = 0, high = count;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (base + static_cast<uint64_t>(int64_t{entry(middle).begin}) <= pc) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return false;

  const uint8_t* const at = frame_table + entry(low - 1).description;
  CfiReader reader = entry_at(at);
  const uint8_t* const here = reader.position();
  const uint32_t to_common = reader.fixed<uint32_t>();
  bool has_augmentation_data;
  if (to_common == 0 || !read_common(here - to_common, found, &has_augmentation_data)) return false;
  found->begin = reader.encoded(found->pointer_encoding, 0);
  const uint64_t size = reader.encoded(found->pointer_encoding & kFormatMask, 0);
  if (pc - found->begin >= size) return false;
  if (has_augmentation_data) reader.skip(reader.uleb());
  uint32_t length;
  __builtin_memcpy(&length, at, sizeof length);
  found->instructions = reader.position();
  found->instructions_end = at + sizeof length + length;
  return found->instructions <= found->instructions_end;
}

}  // namespace causeway::dept
