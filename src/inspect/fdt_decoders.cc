// Subtrees whose blob is an FDT: the reserve_mem regions, and the kernel's own KHO test.
#include <libfdt.h>

#include <cstring>

#include "base/printable.h"
#include "inspect/decoders.h"
#include "inspect/root_reader.h"
#include "kho/abi/kho_v4.h"

namespace causeway::inspect {
namespace {

constexpr int kMaxRegions = 8;
constexpr char kRegionCompatible[] = "reserve-mem-v1";
constexpr uint32_t kKhoTestMagic = 0x4b484f21;

// The kernel's test writes its numbers host-endian.
std::optional<uint32_t> fdt_u32(const void* fdt, int node, const char* name) {
  int length = 0;
  const void* payload = fdt_getprop(fdt, node, name, &length);
  uint32_t value = 0;
  if (payload == nullptr || length != static_cast<int>(sizeof value)) return std::nullopt;
  std::memcpy(&value, payload, sizeof value);
  return value;
}

}  // namespace

void decode_memblock(Context& context, Subtree& subtree, const void* fdt) {
  int regions = 0;
  int node;
  fdt_for_each_subnode(node, fdt, 0) {
    const char* name = fdt_get_name(fdt, node, nullptr);
    if (name == nullptr) continue;
    const std::string shown = printable(name);
    if (++regions > kMaxRegions) {
      context.findings.error("memblock.regions", subtree.phys, "more than {} reserve_mem regions: the rest is not revived",
                             kMaxRegions);
      break;
    }
    if (fdt_node_check_compatible(fdt, node, kRegionCompatible) != 0)
      context.findings.error("memblock.compatible", subtree.phys,
                             "reserve_mem region \"{}\" is not \"{}\": Linux 7.3 allocates a fresh one, its contents are "
                             "lost silently",
                             shown, kRegionCompatible);
    const auto start = fdt_u64(fdt, node, "start");
    const auto size = fdt_u64(fdt, node, "size");
    if (!start.has_value() || !size.has_value()) {
      context.findings.error("memblock.properties", subtree.phys,
                             "reserve_mem region \"{}\": start or size is missing or not 8 bytes: it is lost silently",
                             shown);
      continue;
    }
    context.expect_preserved(PhysAddr(*start), *size, "a reserve_mem region");
    subtree.fields.push_back(
        {shown, {}, Item::Show::kNumber, {address("start", *start), bytes("size", *size)}});
  }
}

void decode_kho_test(Context& context, Subtree& subtree, const void* fdt) {
  const auto magic = fdt_u32(fdt, 0, "magic");
  if (magic != kKhoTestMagic)
    context.findings.error("kho-test.magic", subtree.phys, "the KHO test's magic is {:#x}, want {:#x}", magic.value_or(0),
                           kKhoTestMagic);
  const int data = fdt_subnode_offset(fdt, 0, "data");
  if (data < 0) {
    context.findings.error("kho-test.data", subtree.phys, "the KHO test has no node \"data\"");
    return;
  }
  const auto folios = fdt_u32(fdt, data, "nr_folios");
  subtree.fields.push_back(number("nr_folios", folios.value_or(0)));
  int length = 0;
  const void* payload = fdt_getprop(fdt, data, "folios_info", &length);
  kho::abi::VmallocDescriptor area;
  if (payload == nullptr || length != static_cast<int>(sizeof area) || !folios.has_value()) {
    context.findings.error("kho-test.data", subtree.phys, "the KHO test's list of folios is missing or of a wrong size");
    return;
  }
  std::memcpy(&area, payload, sizeof area);
  uint64_t left = *folios, total = 0;
  (void)context.for_each_page(area, subtree.phys, "the folio list of the KHO test", [&](const PageCopy& page) {
    for (uint64_t i = 0; i < kPageSize / sizeof(uint64_t) && left > 0; ++i, --left) {
      ++context.report.work;
      // The address, with the order in its low bits.
      const auto entry = page.as<uint64_t>(i * sizeof(uint64_t));
      const PhysAddr phys(entry & kPageMask);
      const uint64_t order = entry & ~kPageMask;
      const auto block = context.tree.block_at(Pfn::containing(phys));
      if (!block.has_value() || block->pfn.address() != phys || block->order.value() != order)
        context.findings.error("kho-test.folio", phys, "a folio of the KHO test, of order {}, is not preserved so", order);
      else
        total += block->order.bytes();
    }
    return true;
  });
  subtree.fields.push_back(bytes("bytes", total));
}

}  // namespace causeway::inspect
