// The record of a preserved memfd.
#include <algorithm>
#include <cstring>

#include "inspect/decoders.h"
#include "memfd/abi/memfd_v2.h"

namespace causeway::inspect {
namespace {

namespace abi = memfd::abi;

constexpr uint64_t kMaxFileSize = (uint64_t{1} << 63) - 1;
constexpr size_t kMaxHead = 64;
constexpr size_t kMaxRuns = 4096;

// The printable ASCII that the page starts with: what a reader recognises a file by.
std::optional<std::string> head_of(const Memory& memory, Pfn pfn) {
  const std::byte* page = memory.at(pfn.address(), kPageSize);
  if (page == nullptr) return std::nullopt;
  std::string head;
  for (size_t i = 0; i < kMaxHead; ++i) {
    const char c = static_cast<char>(page[i]);
    if (c < 0x20 || c > 0x7e) break;
    head += c;
  }
  return head;
}

// Checks the folios of one file as they come, and keeps what the report shows.
class FolioReader {
 public:
  FolioReader(Context& context, Memfd& memfd) : context_(context), memfd_(memfd) {}

  void add(const abi::FolioSer& ser, PhysAddr at) {
    ++seen_;
    ++context_.report.work;
    const Pfn pfn(abi::folio_pfn(ser));
    if (pfn == Pfn(0)) {
      ++skipped_;
      return;
    }
    const auto order = check_block(pfn, at);
    const uint64_t pages = uint64_t{1} << order.value_or(0);
    check_index(ser.index, pages, at);
    constexpr uint64_t kAlways = abi::kFolioDirty | abi::kFolioUptodate;
    if (abi::folio_flags(ser) != kAlways)
      context_.findings.warning("memfd.folio-flags", at,
                                "the folio of index {} has flags {:#x}, want {:#x}: its contents can be dropped", ser.index,
                                abi::folio_flags(ser), kAlways);
    keep({.pfn = pfn.value(), .flags = abi::folio_flags(ser), .index = ser.index}, order);
  }
  void finish() {
    const uint64_t wanted = pages_for(memfd_.size);
    if (seen_ < memfd_.nr_folios) {
      context_.findings.error("memfd.folio-count", memfd_.phys,
                              "the file says {} folios, its array holds {}: Linux 7.3 reads past the array",
                              memfd_.nr_folios, seen_);
    } else if (covered_ + skipped_ < wanted) {
      context_.findings.warning("memfd.folios-missing", memfd_.phys,
                                "{} folios cover {} of the {} pages of the file: the others read as zeros", seen_, covered_,
                                wanted);
    }
  }

 private:
  std::optional<unsigned> check_block(Pfn pfn, PhysAddr at) {
    const auto block = context_.tree.block_at(pfn);
    if (!block.has_value()) {
      context_.findings.error("memfd.folio-not-preserved", at,
                              "the folio at {} is not preserved: its contents are lost silently, Linux 7.3 cannot "
                              "retrieve the file (EIO)",
                              pfn.address());
      return std::nullopt;
    }
    if (block->pfn != pfn)
      context_.findings.error("memfd.folio-inside", at,
                              "the folio at {} is inside the preserved block of order {} at {}: Linux 7.3 cannot retrieve "
                              "the file (EIO)",
                              pfn.address(), block->order, block->pfn.address());
    return std::min(block->order.value(), 51u);
  }
  void check_index(uint64_t index, uint64_t pages, PhysAddr at) {
    if (index >= pages_for(memfd_.size))
      context_.findings.error("memfd.folio-index", at, "index {} is beyond the file of {} pages", index,
                              pages_for(memfd_.size));
    if (!is_aligned(index, pages))
      context_.findings.error("memfd.folio-alignment", at, "index {} of a folio of {} pages is not a multiple of it", index,
                              pages);
    if (index < next_index_)
      context_.findings.error("memfd.folio-order", at,
                              "index {} after the folio that ends before {}: a duplicate, or out of order", index,
                              next_index_);
    uint64_t end = 0;
    next_index_ = checked_add(index, pages, &end) ? std::max(next_index_, end) : ~uint64_t{0};
    if (!checked_add(covered_, pages, &covered_)) covered_ = ~uint64_t{0};
  }
  void keep(Folio folio, std::optional<unsigned> order) {
    context_.remember_folio(folio.pfn);
    add_to_runs(folio, order);
    if (memfd_.folios.size() >= context_.options.max_folios_per_file ||
        context_.folios_kept >= context_.options.max_folios) {
      ++memfd_.folios_omitted;
      return;
    }
    ++context_.folios_kept;
    folio.head = head_of(context_.memory, Pfn(folio.pfn));
    memfd_.folios.push_back(std::move(folio));
  }
  void add_to_runs(const Folio& folio, std::optional<unsigned> order) {
    if (!memfd_.runs.empty()) {
      FolioRun& last = memfd_.runs.back();
      uint64_t pages = 0;
      if (last.order == order && last.flags == folio.flags && memfd_.runs_omitted == 0 &&
          !__builtin_mul_overflow(last.folios, last.pages_each(), &pages) && last.pfn + pages == folio.pfn &&
          last.index + pages == folio.index) {
        ++last.folios;
        return;
      }
    }
    if (memfd_.runs.size() >= kMaxRuns || context_.runs_kept >= context_.options.max_folios) {
      ++memfd_.runs_omitted;
      return;
    }
    ++context_.runs_kept;
    memfd_.runs.push_back({folio.index, folio.pfn, 1, order, folio.flags});
  }

  Context& context_;
  Memfd& memfd_;
  uint64_t seen_ = 0;
  uint64_t skipped_ = 0;
  uint64_t covered_ = 0;
  uint64_t next_index_ = 0;
};

void check_fields(Context& context, const Memfd& memfd, const abi::Ser& ser) {
  if ((memfd.seals & ~abi::kSealsSupported) != 0)
    context.findings.error("memfd.seals", memfd.phys,
                           "seals {:#x}, known are {:#x}: Linux 7.3 cannot retrieve the file (EOPNOTSUPP)", memfd.seals,
                           abi::kSealsSupported);
  if (memfd.flags != 0) context.findings.warning("memfd.flags", memfd.phys, "flags {:#x}, want 0", memfd.flags);
  if (memfd.size > kMaxFileSize)
    context.findings.error("memfd.size", memfd.phys, "size {:#x} is more than a file can have", memfd.size);
  if (memfd.pos > kMaxFileSize)
    context.findings.error("memfd.position", memfd.phys, "position {:#x} is more than a file can have", memfd.pos);
  if (memfd.nr_folios == 0 && (ser.folios.first != 0 || ser.folios.total_pages != 0))
    context.findings.warning("memfd.array-unused", memfd.phys, "no folios, but an array of {} pages at {:#x}: it is leaked",
                             ser.folios.total_pages, ser.folios.first);
}

}  // namespace

void decode_memfd(Context& context, File& file) {
  const auto page = context.follow(PhysAddr(file.data), "the record of a memfd", "Linux 7.3 cannot retrieve the file");
  if (!page.has_value()) return;
  const auto ser = page->as<abi::Ser>(0);
  Memfd memfd{.phys = PhysAddr(file.data),
              .pos = ser.position,
              .size = ser.size,
              .seals = ser.seals,
              .flags = ser.flags,
              .nr_folios = ser.nr_folios};
  check_fields(context, memfd, ser);
  if (memfd.nr_folios == 0) {
    if (memfd.size > 0 && memfd.size <= kMaxFileSize)
      context.findings.warning("memfd.folios-missing", memfd.phys, "a file of {} bytes without a folio: it reads as zeros",
                               memfd.size);
  } else {
    FolioReader folios(context, memfd);
    uint64_t left = memfd.nr_folios;
    const bool whole = context.for_each_page(
        ser.folios, memfd.phys, "the folio array of a memfd", [&](const PageCopy& array) {
          constexpr uint64_t kPerPage = kPageSize / sizeof(abi::FolioSer);
          for (uint64_t i = 0; i < kPerPage && left > 0; ++i, --left)
            folios.add(array.as<abi::FolioSer>(i * sizeof(abi::FolioSer)), array.address + i * sizeof(abi::FolioSer));
          return true;
        });
    if (whole) {
      folios.finish();
      uint64_t bytes = 0;
      if (!__builtin_mul_overflow(memfd.nr_folios, sizeof(abi::FolioSer), &bytes) &&
          pages_for(bytes) < ser.folios.total_pages)
        context.findings.warning("memfd.array-size", memfd.phys, "{} folios need {} pages of array, it has {}",
                                 memfd.nr_folios, pages_for(bytes), ser.folios.total_pages);
    }
  }
  file.memfd = std::move(memfd);
}

}  // namespace causeway::inspect
