// What the decoders of one image share: reading with checks, and the rule that a structure page is read once.
// Private to this room.
//
//   if (auto page = context.follow(PhysAddr(ser.sessions_pa), "a session block", "Linux 7.3 panics at boot"))
//     use(page->as<abi::BlockHeader>(0));
#pragma once

#include <array>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>

#include "inspect/decode.h"
#include "kho/abi/kho_v4.h"

namespace causeway::inspect {

// A copy: what lies in the image may change while it is looked at.
struct PageCopy {
  PhysAddr address;
  alignas(8) std::array<std::byte, kPageSize> bytes;
  template <typename T>
  T as(uint64_t offset) const {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
  }
};

// What points to the IOMMU records of an image.
struct IommuCarrier {
  const char* name;
  PhysAddr phys;
  uint64_t size = 0;  // bytes, as the carrier says
};

class Context {
 public:
  Context(const Memory& memory_in, const Tree& tree_in, const Options& options_in, Report& report_in)
      : memory(memory_in), tree(tree_in), options(options_in), report(report_in), findings(report_in.findings) {}

  const Memory& memory;
  const Tree& tree;
  const Options& options;
  Report& report;
  Findings& findings;
  std::vector<IommuCarrier> iommu_carriers;
  uint64_t files_kept = 0;
  uint64_t folios_kept = 0;
  uint64_t runs_kept = 0;

  // The structure page at `page`, which `what` names in findings. nullopt, with a finding: null, not page
  // aligned, not preserved, read before, or its contents are not there. `consequence`: what a kernel makes of
  // a pointer that is wrong.
  std::optional<PageCopy> follow(PhysAddr page, const char* what, const char* consequence);
  // The bytes of a blob, at most `limit` of them, as far as the image holds them; its pages count as structure. Empty, with
  // a finding, if there are none.
  std::vector<std::byte> blob(PhysAddr phys, uint64_t size, uint64_t limit, const char* what, const char* consequence);
  // First to read this page; otherwise a finding.
  bool claim(PhysAddr page, const char* what);
  bool is_claimed(PhysAddr page) const { return claimed_.contains(page.value()); }
  // [phys, phys + size) is preserved; otherwise a finding.
  bool expect_preserved(PhysAddr phys, uint64_t size, const char* what);
  // The image does not hold this: outside RAM is an error, not in the image a note.
  void missing(PhysAddr page, const char* what);

  // Entries of a kho_block chain, each `entry_size` bytes. Returns how many there are; nullopt: the chain is damaged, with
  // a finding that ends in `consequence`.
  std::optional<uint64_t> for_each_entry(PhysAddr head, uint64_t entry_size, const char* what, const char* consequence,
                                         const std::function<void(const std::byte* entry, PhysAddr at)>& visit);
  // Pages of a preserved vmalloc area, in order, each copied. False: damaged, with a finding; or stopped.
  bool for_each_page(const kho::abi::VmallocDescriptor& area, PhysAddr at, const char* what,
                     const std::function<bool(const PageCopy& page)>& visit);

  // Every folio of a file, for check_folios().
  void remember_folio(uint64_t pfn) {
    if (folios_.size() < kMaxFolios) folios_.push_back(pfn);
    else unremembered_ = true;
  }
  // No folio belongs to two files, or is a page that something else lies in.
  void check_folios();

 private:
  static constexpr uint64_t kMaxFolios = uint64_t{4} << 20;
  static constexpr uint64_t kMaxClaims = uint64_t{1} << 20;
  std::unordered_map<uint64_t, const char*> claimed_;
  std::vector<uint64_t> folios_;
  bool unremembered_ = false;
};

// A fixed-size character field: up to the NUL. nullopt: there is none.
std::optional<std::string> text_field(const char* field, size_t size);

}  // namespace causeway::inspect
