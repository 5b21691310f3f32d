#include "inspect/context.h"

#include <algorithm>

namespace causeway::inspect {

namespace abi = kho::abi;

bool Context::claim(PhysAddr page, const char* what) {
  ++report.work;
  if (claimed_.size() >= kMaxClaims) {
    findings.error("image.too-many-structures", page, "{} is beyond the {} structure pages that are looked at", what,
                   kMaxClaims);
    return false;
  }
  const auto [entry, is_new] = claimed_.emplace(page.value(), what);
  if (!is_new) {
    findings.error("image.page-shared", page, "{} lies in a page that is also {}: a cycle, or one page with two owners",
                   what, entry->second);
    return false;
  }
  if (tree.is_node(page)) {
    findings.error("image.page-shared", page, "{} lies in a page that is also a node of the tree", what);
    return false;
  }
  if (options.on_structure_page) options.on_structure_page(page);
  return true;
}

bool Context::expect_preserved(PhysAddr phys, uint64_t size, const char* what) {
  if (tree.is_preserved(phys, size)) return true;
  findings.error("image.not-preserved", phys,
                 "{} of {} bytes is not preserved: its memory is free in the next kernel, the contents are lost silently",
                 what, size);
  return false;
}

void Context::missing(PhysAddr page, const char* what) {
  if (memory.ram_is_known() && !memory.is_ram(page, 1))
    findings.error("image.not-ram", page, "{} is not in RAM", what);
  else
    findings.note("image.not-in-image", page, "the image does not hold {}", what);
}

std::optional<PageCopy> Context::follow(PhysAddr page, const char* what, const char* consequence) {
  if (page == PhysAddr(0)) {
    findings.error("image.null", page, "the address of {} is 0: {}", what, consequence);
    return std::nullopt;
  }
  if (!page.is_aligned(kPageSize)) {
    findings.error("image.alignment", page, "the address of {} is not page aligned: {}", what, consequence);
    return std::nullopt;
  }
  expect_preserved(page, kPageSize, what);
  const std::byte* source = memory.at(page, kPageSize);
  if (source == nullptr) {
    missing(page, what);
    return std::nullopt;
  }
  if (!claim(page, what)) return std::nullopt;
  std::optional<PageCopy> copy(std::in_place);
  copy->address = page;
  std::memcpy(copy->bytes.data(), source, kPageSize);
  return copy;
}

std::vector<std::byte> Context::blob(PhysAddr phys, uint64_t size, uint64_t limit, const char* what,
                                     const char* consequence) {
  uint64_t end = 0;
  if (phys == PhysAddr(0) || !checked_add(phys.value(), size, &end)) {
    findings.error("image.blob-address", phys, "{} of {} bytes: {}", what, size, consequence);
    return {};
  }
  if (size > 0) expect_preserved(phys, size, what);
  std::vector<std::byte> bytes;
  const uint64_t wanted = std::min(size, limit);
  while (bytes.size() < wanted) {
    const PhysAddr at(phys.value() + bytes.size());
    const uint64_t part = std::min(wanted - bytes.size(), kPageSize - at.page_offset());
    const std::byte* source = memory.at(at, part);
    if (source == nullptr) {
      missing(at, what);
      return {};
    }
    if (!claim(at.aligned_down(kPageSize), what)) return {};
    bytes.insert(bytes.end(), source, source + part);
  }
  return bytes;
}

std::optional<uint64_t> Context::for_each_entry(PhysAddr head, uint64_t entry_size, const char* what,
                                                const char* consequence,
                                                const std::function<void(const std::byte*, PhysAddr)>& visit) {
  uint64_t entries = 0, blocks = 0;
  const uint64_t capacity = abi::block_capacity(entry_size);
  for (PhysAddr block = head; block != PhysAddr(0);) {
    if (++blocks > abi::kMaxBlocks) {
      findings.error("chain.too-long", block, "{}: more than {} in one chain: {}", what, abi::kMaxBlocks, consequence);
      return std::nullopt;
    }
    const auto page = follow(block, what, consequence);
    if (!page.has_value()) return std::nullopt;
    const auto header = page->as<abi::BlockHeader>(0);
    if (header.count == 0) {
      findings.error("chain.empty-block", block, "{} has count 0{}: {}", what,
                     blocks > 1 ? ", at the end of its chain" : "", consequence);
      if (header.next == 0) return std::nullopt;
    }
    if (header.count > capacity) {
      findings.error("chain.count", block, "{} has count {}, want at most {}: {}", what, header.count, capacity,
                     consequence);
      return std::nullopt;
    }
    for (uint64_t i = 0; i < header.count; ++i) {
      ++report.work;
      const uint64_t offset = sizeof header + i * entry_size;
      visit(page->bytes.data() + offset, block + offset);
    }
    entries += header.count;
    block = PhysAddr(header.next);
  }
  return entries;
}

bool Context::for_each_page(const abi::VmallocDescriptor& area, PhysAddr at, const char* what,
                            const std::function<bool(const PageCopy&)>& visit) {
  constexpr const char* kConsequence = "Linux 7.3 cannot restore it";
  constexpr uint16_t kKnownFlags = abi::kVmallocFlagAlloc | abi::kVmallocFlagHuge;
  if ((area.flags & ~kKnownFlags) != 0)
    findings.warning("vmalloc.flags", at, "{}: flags {:#x}, want {:#x} at most", what, area.flags, kKnownFlags);
  if (area.order >= 32 || area.total_pages == 0 || !is_aligned(area.total_pages, uint64_t{1} << area.order)) {
    findings.error("vmalloc.total-pages", at, "{}: {} pages in pieces of order {}: {}", what, area.total_pages, area.order,
                   kConsequence);
    return false;
  }
  const uint64_t piece_pages = uint64_t{1} << area.order;
  uint64_t pages = 0;
  bool whole = true;
  for (PhysAddr next(area.first); next != PhysAddr(0);) {
    const auto copy = follow(next, "a chunk of a vmalloc area", kConsequence);
    if (!copy.has_value()) return false;
    const auto chunk = copy->as<abi::VmallocChunk>(0);
    for (uint64_t phys : chunk.phys) {
      if (phys == 0) break;
      ++report.work;
      if (pages + piece_pages > area.total_pages) {
        findings.error("vmalloc.too-many", next, "{}: lists more than the {} pages it has: {}", what, area.total_pages,
                       kConsequence);
        return false;
      }
      const PhysAddr piece(phys);
      if (!piece.is_aligned(kPageSize << area.order)) {
        findings.error("vmalloc.alignment", piece, "{}: a piece is not aligned to order {}: {}", what, area.order,
                       kConsequence);
        return false;
      }
      pages += piece_pages;
      for (uint64_t i = 0; i < piece_pages; ++i) {
        uint64_t address = 0;
        if (!checked_add(phys, i * kPageSize, &address)) return false;
        const auto page = follow(PhysAddr(address), what, kConsequence);
        // One that is missing shifts the rest: nothing behind it can be read.
        if (!page.has_value()) return false;
        if (!visit(*page)) whole = false;
        if (!whole) break;
      }
      if (!whole) break;
    }
    if (!whole) return false;
    next = PhysAddr(chunk.next);
  }
  if (pages != area.total_pages) {
    findings.error("vmalloc.too-few", at, "{}: lists {} pages, want {}: {}", what, pages, area.total_pages, kConsequence);
    return false;
  }
  return true;
}

void Context::check_folios() {
  std::sort(folios_.begin(), folios_.end());
  for (size_t i = 0; i < folios_.size(); ++i) {
    const PhysAddr address(folios_[i] << kPageShift);
    if (i > 0 && folios_[i] == folios_[i - 1] && (i < 2 || folios_[i] != folios_[i - 2]))
      findings.error("memfd.folio-shared", address,
                     "a folio is listed more than once: Linux 7.3 can restore it for the first only (EIO)");
    else if (auto owner = claimed_.find(address.value()); owner != claimed_.end())
      findings.error("image.page-shared", address, "a folio of a file lies in a page that is also {}", owner->second);
  }
  if (unremembered_)
    findings.note("memfd.unchecked", std::nullopt, "folios after the first {} are not compared for double use", kMaxFolios);
}

std::optional<std::string> text_field(const char* field, size_t size) {
  const size_t length = strnlen(field, size);
  if (length == size) return std::nullopt;
  return std::string(field, length);
}

}  // namespace causeway::inspect
