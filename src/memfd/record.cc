#include "memfd/record.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/log.h"
#include "base/point.h"

namespace causeway::memfd {

namespace {

template <typename... Args>
tl::unexpected<Error> refuse(int code, const char* rule, fmt::format_string<Args...> format, Args&&... args) {
  log::warn("memfd", "record refused: {}: {}", rule, fmt::format(format, std::forward<Args>(args)...));
  return fail(code, rule);
}

}  // namespace

std::vector<kho::Block> cut(Pfn first, uint64_t pages) {
  std::vector<kho::Block> blocks;
  blocks.reserve((pages >> kMaxFolioOrder) + 2 * kMaxFolioOrder);
  for (uint64_t index = 0; index < pages;) {
    const Pfn pfn = first + index;
    const auto aligned = static_cast<unsigned>(std::countr_zero(pfn.value() | index));
    const auto fits = static_cast<unsigned>(std::bit_width(pages - index)) - 1;
    const Order order(std::min({kMaxFolioOrder, aligned, fits}));
    blocks.push_back({pfn, order, kho::PageType::kContig});
    index += order.pages();
  }
  return blocks;
}

Result<Record> Record::read(kho::Kho& kho, mm::Vmalloc& vmalloc, uint64_t data) {
  const PhysAddr where(data);
  if (data == 0 || !kho.preserved_order(where))
    return refuse(EINVAL, "the descriptor is not a preserved page", "address {}", where);
  Record record(kho, vmalloc, kho.map().direct_map().to_virt(where));
  std::memcpy(&record.ser_, record.page_, sizeof record.ser_);
  const abi::Ser& ser = record.ser_;
  if ((ser.seals & ~abi::kSealsSupported) != 0)
    return refuse(EOPNOTSUPP, "a seal is not known", "seals {:#x}, want none but {:#x}", uint32_t{ser.seals},
                  abi::kSealsSupported);
  const uint64_t size = ser.size, position = ser.position, count = ser.nr_folios;
  if (size > kMaxPages << kPageShift) return refuse(EINVAL, "the file is too large", "{} bytes", size);
  if (position > static_cast<uint64_t>(INT64_MAX))
    return refuse(EINVAL, "the position is not one of a file", "{:#x}", position);
  // Not compared with the size: a client may have shrunk its file since the folios were listed.
  if (count > kMaxPages) return refuse(EINVAL, "more folios than a file can have", "{}", count);
  if (count != 0) CW_TRY(record.read_folios());
  return record;
}

Status Record::read_folios() {
  const uint64_t count = ser_.nr_folios;
  const kho::abi::VmallocDescriptor descriptor = ser_.folios;
  // Before anything is restored: an array that is too short is refused whole.
  if (count > uint64_t{descriptor.total_pages} * kPageSize / sizeof(abi::FolioSer))
    return refuse(EINVAL, "the array is too short", "{} pages for {} folios", descriptor.total_pages, count);
  CW_FAIL_POINT("memfd.record.before_array");
  auto restored = kho_->restore_vmalloc(descriptor);
  if (!restored) {
    if (restored.error().code == Errno{ENOMEM}) return fail(restored.error());
    return refuse(EINVAL, "the array cannot be restored", "{}", to_string(restored.error()));
  }
  array_ = *restored;

  const auto* entries = reinterpret_cast<const abi::FolioSer*>(array_->address);
  const Pfn end(kho_->map().end_pfn());
  folios_.reserve(count);
  uint64_t next_index = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const Pfn pfn(abi::folio_pfn(entries[i]));
    const uint64_t index = entries[i].index;
    if (pfn == Pfn(0)) continue;
    if (index < next_index || index >= kMaxPages)
      return refuse(EINVAL, "a folio's index is out of order or range", "entry {}: index {}, want {} or more", i, index,
                    next_index);
    Folio folio{pfn, index, kOrder0, false};
    if (pfn >= end) return refuse(EIO, "a folio is beyond the last frame", "entry {}: {}", i, pfn);
    if (auto order = kho_->preserved_order(pfn.address())) {
      folio.order = *order;
    } else if (auto client = kho_->client_order(pfn.address())) {
      folio.order = *client;
      folio.client = true;
    } else {
      return refuse(EIO, "a folio is not a preserved block", "entry {}: {}", i, pfn);
    }
    next_index = index + folio.order.pages();
    folios_.push_back(folio);
  }
  return check_distinct();
}

// Preserved blocks do not overlap, so it is enough that none is named twice.
Status Record::check_distinct() const {
  std::vector<Pfn> heads;
  heads.reserve(folios_.size() + 1);
  // The descriptor's own block cannot be a folio too.
  heads.push_back(Pfn::containing(kho_->map().direct_map().to_phys(page_)));
  for (const Folio& folio : folios_) heads.push_back(folio.pfn);
  std::sort(heads.begin(), heads.end());
  auto twice = std::adjacent_find(heads.begin(), heads.end());
  if (twice != heads.end()) return refuse(EIO, "a folio is named twice, or is the descriptor", "{}", *twice);
  return {};
}

void Record::release() {
  kho_->restore_free(page_);
  if (array_ == nullptr) return;
  kho_->after_commit([vmalloc = vmalloc_, address = array_->address] { vmalloc->free(address); });
  array_ = nullptr;
}

bool Record::give_back(const Folio& folio) {
  if (folio.client) return kho_->claim(folio.pfn.address());
  mm::Page* head = kho_->restore_folio(folio.pfn.address());
  if (head == nullptr) return false;
  kho_->after_commit([kho = kho_, head] { kho->allocator().put_page(head); });
  return true;
}

}  // namespace causeway::memfd
