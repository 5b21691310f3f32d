#include "inspect/decoders.h"

#include <libfdt.h>

#include <cstring>

#include "base/printable.h"
#include "drivers/abi/allocation_pool_v1.h"
#include "drivers/abi/dma_engine_v1.h"
#include "iommu/abi/iommu_v1.h"
#include "kho/abi/kho_v4.h"
#include "luo/abi/luo_v5.h"
#include "memfd/abi/memfd_v2.h"

namespace causeway::inspect {
namespace {

struct ByName {
  const char* name;
  void (*decode)(Context&, Subtree&);
};
constexpr ByName kByName[] = {
    {kho::abi::kMetadataSubtree, decode_kexec_metadata},
    {luo::abi::kSubtree, decode_luo},
    {iommu::abi::kCompatible, note_iommu},
};

struct ByFdt {
  const char* compatible;
  void (*decode)(Context&, Subtree&, const void* fdt);
};
constexpr ByFdt kByFdt[] = {
    {"memblock-v1", decode_memblock},
    {"kho-test-v1", decode_kho_test},
};

struct ByStart {
  const char* compatible;
  size_t size;  // of the structure
  void (*decode)(Context&, Subtree&, std::span<const std::byte>);
};
constexpr ByStart kByStart[] = {
    {drivers::abi::kCompatible, sizeof(drivers::abi::Handover), decode_dma_engine},
    {drivers::abi::kAllocationPoolCompatible, sizeof(drivers::abi::AllocationPoolState), decode_allocation_pool},
};

struct ByHandler {
  const char* compatible;
  void (*decode)(Context&, File&);
};
constexpr ByHandler kByHandler[] = {
    {memfd::abi::kCompatible, decode_memfd},
};

constexpr uint64_t kMaxBlob = KiB(64);  // of one whose size nothing else bounds
constexpr size_t kCompatibleField = 32;

bool decode_fdt(Context& context, Subtree& subtree, std::span<const std::byte> blob) {
  if (blob.size() < sizeof(fdt_header) || fdt_magic(blob.data()) != FDT_MAGIC) return false;
  if (const int error = fdt_check_full(blob.data(), blob.size()); error != 0) {
    context.findings.error("subtree.fdt-damaged", subtree.phys, "the FDT of subtree \"{}\" does not parse: {}",
                           subtree.name, fdt_strerror(error));
    return true;
  }
  int length = 0;
  const auto* compatible = static_cast<const char*>(fdt_getprop(blob.data(), 0, "compatible", &length));
  const std::string found(compatible == nullptr ? "" : compatible,
                          compatible == nullptr ? 0 : strnlen(compatible, static_cast<size_t>(length)));
  for (const ByFdt& row : kByFdt) {
    if (found != row.compatible) continue;
    subtree.format = row.compatible;
    row.decode(context, subtree, blob.data());
    return true;
  }
  context.findings.warning("subtree.compatible", subtree.phys,
                           "subtree \"{}\" is an FDT with the unknown compatible string \"{}\"", subtree.name,
                           printable(found));
  return true;
}

}  // namespace

void decode_subtree(Context& context, Subtree& subtree) {
  for (const ByName& row : kByName)
    if (subtree.name == row.name) return row.decode(context, subtree);

  const std::vector<std::byte> blob =
      context.blob(subtree.phys, subtree.size, kMaxBlob, "the blob of a subtree", "its owner cannot read it");
  if (blob.empty()) return;
  if (decode_fdt(context, subtree, blob)) return;
  std::string found;
  if (blob.size() >= kCompatibleField) {
    const auto* start = reinterpret_cast<const char*>(blob.data());
    found.assign(start, strnlen(start, kCompatibleField));
    for (const ByStart& row : kByStart) {
      if (found != row.compatible) continue;
      subtree.format = row.compatible;
      if (blob.size() < row.size)
        return context.findings.error("subtree.size", subtree.phys, "subtree \"{}\" has {} bytes, want {}", subtree.name,
                                      blob.size(), row.size);
      return row.decode(context, subtree, blob);
    }
  }
  if (found.rfind("causeway,", 0) == 0)
    context.findings.warning("subtree.compatible", subtree.phys,
                             "subtree \"{}\" is of the unknown version \"{}\": its owner refuses it", subtree.name,
                             printable(found));
  else
    context.findings.note("subtree.unknown", subtree.phys, "subtree \"{}\": no decoder knows its {} bytes", subtree.name,
                          subtree.size);
}

bool decode_file(Context& context, File& file, PhysAddr) {
  for (const ByHandler& row : kByHandler) {
    if (file.compatible != row.compatible) continue;
    row.decode(context, file);
    return true;
  }
  return false;
}

void note_iommu(Context& context, Subtree& subtree) {
  subtree.format = iommu::abi::kCompatible;
  context.iommu_carriers.push_back({"KHO subtree", subtree.phys, subtree.size});
}

void decode_kexec_metadata(Context& context, Subtree& subtree) {
  using kho::abi::KexecMetadata;
  constexpr const char* kIgnored = "Linux 7.3 warns and ignores it";
  const auto blob = context.blob(subtree.phys, subtree.size, kPageSize, "the kexec metadata", kIgnored);
  if (blob.empty() && subtree.size > 0) return;
  uint32_t version = 0;
  if (blob.size() >= sizeof version) std::memcpy(&version, blob.data(), sizeof version);
  if (blob.size() < sizeof(KexecMetadata) || version != kho::abi::kMetadataVersion) {
    context.findings.warning("metadata.version", subtree.phys, "kexec metadata: version {}, {} bytes; want {}, {}: {}",
                             version, blob.size(), kho::abi::kMetadataVersion, sizeof(KexecMetadata), kIgnored);
    return;
  }
  KexecMetadata metadata;
  std::memcpy(&metadata, blob.data(), sizeof metadata);
  const auto release = text_field(metadata.previous_release, sizeof metadata.previous_release);
  if (!release.has_value())
    context.findings.error("metadata.release", subtree.phys, "the release of the kernel before is not terminated");
  context.report.kexec_metadata =
      inspect::KexecMetadata{metadata.version, printable(release.value_or("")), metadata.kexec_count};
  subtree.format = "kexec-metadata";
}

}  // namespace causeway::inspect
