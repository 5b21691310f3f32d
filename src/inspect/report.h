// What an image says, decoded: plain data for the renderers, and for programs.
//
//   Report report = decode(image.memory(), options_for(image));
//   fmt::print("{}", render_text(report, {}));
//   for (const Session& session : report.luo->sessions) ...
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/types.h"
#include "inspect/finding.h"
#include "inspect/iommu_report.h"
#include "inspect/tree.h"
#include "kho/key.h"

namespace causeway::inspect {

// A decoded field of a subsystem's own record, for renderers that need not know the record.
struct Item {
  enum class Show : uint8_t { kNumber, kAddress, kBytes };
  std::string name;
  std::variant<std::monostate, uint64_t, std::string> value;
  Show show = Show::kNumber;
  std::vector<Item> children;
};

struct Candidate {
  PhysAddr fdt;
  std::string compatible;
  uint64_t entries = 0;  // blocks its map leads to
  bool intact = false;   // the map decodes without an error
};

struct Subtree {
  std::string name;
  PhysAddr phys;
  uint64_t size = 0;         // bytes
  std::string format;        // compatible string of the decoder that knew it, "" if none did
  std::vector<Item> fields;
};

struct KexecMetadata {
  uint32_t version = 0;
  std::string previous_release;
  uint32_t kexec_count = 0;
};

struct Folio {
  uint64_t pfn = 0;
  uint64_t flags = 0;
  uint64_t index = 0;
  std::optional<std::string> head;  // printable start of its contents; nullopt: not in the image
};
// Consecutive folios: in the file, in memory, of one order and with the same flags.
struct FolioRun {
  uint64_t index = 0;
  uint64_t pfn = 0;
  uint64_t folios = 0;
  std::optional<unsigned> order;  // nullopt: not preserved
  uint64_t flags = 0;
  uint64_t pages_each() const { return uint64_t{1} << order.value_or(0); }
};
struct Memfd {
  PhysAddr phys;
  uint64_t pos = 0;
  uint64_t size = 0;
  uint32_t seals = 0;
  uint32_t flags = 0;
  uint64_t nr_folios = 0;
  std::vector<Folio> folios;
  uint64_t folios_omitted = 0;  // read, but not in `folios`
  std::vector<FolioRun> runs;
  uint64_t runs_omitted = 0;
};
struct File {
  std::string compatible;
  uint64_t data = 0;
  uint64_t token = 0;
  std::optional<Memfd> memfd;
};
struct Session {
  std::string name;
  uint64_t count = 0;  // as the session says
  std::vector<File> files;
  uint64_t files_omitted = 0;
};
struct Flb {
  std::string name;
  uint64_t data = 0;
  uint64_t count = 0;
};
struct Luo {
  PhysAddr phys;
  std::string compatible;
  uint64_t liveupdate_num = 0;
  std::vector<Session> sessions;
  std::vector<Flb> flbs;
};

struct Report {
  // The file. Filled in by options_for().
  std::string kind;
  uint64_t file_bytes = 0;
  bool compressed = false;
  bool metadata_only = false;
  uint64_t image_pages = 0;  // with contents

  std::optional<PhysAddr> fdt_phys;
  std::string fdt_found_by;  // "option", "note" or "search"
  uint64_t fdt_bytes = 0;
  std::vector<Candidate> candidates;  // if it was searched for
  std::string compatible;
  kho::Format format = kho::Format::kV4;
  PhysAddr map_root;
  Tree::Stats map;
  std::vector<mm::MemRange> scratch;  // empty: not known
  std::vector<Subtree> subtrees;
  std::optional<KexecMetadata> kexec_metadata;
  std::optional<Luo> luo;
  std::vector<IommuState> iommu;           // one per carrier that can be read
  std::optional<Translation> translation;  // of Options::device, if it is in the image
  Findings findings{1000};

  // Pages and table entries looked at: follows the image's size, whatever it holds.
  uint64_t work = 0;
};

}  // namespace causeway::inspect
