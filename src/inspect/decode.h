// Decodes a handover out of memory nobody vouches for, as far as it can be read, and lists what is wrong with it.
//
//   ImageFile image = CW_TRY(ImageFile::open(path, {}));
//   Report report = decode(image.memory(), options_for(image));
//   return report.findings.problems() == 0;
//
// There is no image that crashes this or keeps it busy: every structure page is read once, whoever points
// to it; time follows the size of the image. Memory, whatever the image holds: 64 bytes per tree node and per structure
// page (at most 1 Mi of each), 72 bytes per session (at most 510,000), 300 per file and 64 per folio kept (at most
// Options::max_files, max_folios), 16 per folio compared for double use (at most 4 Mi): below 600 MB, and for an
// image that is whole some percent of its metadata. One block of preserved memory costs nothing.
#pragma once

#include <functional>
#include <optional>

#include "base/types.h"
#include "inspect/image_file.h"
#include "inspect/memory.h"
#include "inspect/report.h"

namespace causeway::inspect {

struct Options {
  std::optional<PhysAddr> fdt;  // wins over the hints
  Hints hints;
  Tree::Limits tree;
  uint64_t max_folios_per_file = 4096;     // listed one by one
  uint64_t max_folios = uint64_t{1} << 20; // of all files
  uint64_t max_files = uint64_t{1} << 18;  // of all sessions
  uint64_t max_findings = 1000;
  uint64_t max_iommu_records = uint64_t{1} << 16;  // of all units, domains and devices
  uint64_t max_ranges = 4096;                      // of `device`

  // Whose translation is to be in the report.
  struct DeviceAddress {
    uint16_t segment = 0;
    Bdf bdf;
  };
  std::optional<DeviceAddress> device;

  // Called with every page that some structure of the handover lies in, tree nodes and FDT included.
  std::function<void(PhysAddr page)> on_structure_page;
  // Called with the tree before decode() returns, for what else one wants to know of it.
  std::function<void(const Tree&)> on_tree;

  // About the file, copied into the report.
  std::string kind = "memory";
  uint64_t file_bytes = 0;
  bool compressed = false;
  const Findings* file_findings = nullptr;
};

Options options_for(const ImageFile& image);

Report decode(const Memory& memory, const Options& options);

}  // namespace causeway::inspect
