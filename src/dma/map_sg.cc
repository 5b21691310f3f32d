#include "base/warn_once.h"
#include "dma/debug/debug.h"
#include "dma/direct_map.h"
#include "dma/iommu/iommu_dma.h"
#include "dma/map.h"
#include "dma/map_dispatch.h"
#include "dma/state.h"

namespace causeway::dma {

namespace {

// 0 with no error: a device without a mask.
Result<unsigned> map_list(Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs) {
  check_direction(device, direction);
  if (!device.has_mask()) {
    CW_WARN_ONCE("dma", "{}: a map by a device without a DMA mask", device.name());
    return 0;
  }
  if (has(attrs, Attr::kRequireCoherent) && !device.traits().coherent)
    return fail(EOPNOTSUPP, "the device is not coherent");
  Dma::State& state = device.dma().state();
  Result<unsigned> mapped = fail(EIO, "the device's mapping operations cannot map lists");
  if (is_direct(device)) {
    mapped = direct::map_sg(state, device, list, direction, attrs);
  } else if (has(attrs, Attr::kCcShared)) {
    return fail(EOPNOTSUPP, "only the direct path maps memory that is shared with the host");
  } else if (device.iommu() != nullptr) {
    mapped = device.iommu()->map_sg(device, list, direction, attrs);
  }
  if (mapped && *mapped != 0 && state.debug != nullptr) state.debug->map_sg(device, list, *mapped, direction, attrs);
  return mapped;
}

bool is_expected(Errno code) {
  int value = static_cast<int>(code);
  return value == EINVAL || value == ENOMEM || value == EIO || value == EREMOTEIO || value == EOPNOTSUPP;
}

}  // namespace

unsigned map_sg(Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs) {
  return map_list(device, list, direction, attrs).value_or(0);
}

void unmap_sg(Device& device, std::span<ScatterEntry> list, Direction direction, Attr attrs) {
  check_direction(device, direction);
  Dma::State& state = device.dma().state();
  // Before the backend, which forgets the addresses.
  if (state.debug != nullptr) state.debug->unmap_sg(device, list, direction, attrs);
  if (is_direct(device))
    direct::unmap_sg(state, device, list, direction, attrs);
  else if (device.iommu() != nullptr)
    device.iommu()->unmap_sg(device, list, direction, attrs);
}

Status map_sgtable(Device& device, ScatterTable& table, Direction direction, Attr attrs) {
  table.mapped = 0;
  Result<unsigned> mapped = map_list(device, table.entries, direction, attrs);
  if (!mapped && is_expected(mapped.error().code)) return fail(mapped.error());
  if (!mapped || (*mapped == 0 && device.has_mask())) {
    CW_WARN_ONCE("dma", "{}: map of {} entries: {}", device.name(), table.entries.size(),
                 mapped ? "nothing was mapped" : mapped.error().message);
    return fail(EIO, "the list could not be mapped");
  }
  table.mapped = *mapped;
  return {};
}

void unmap_sgtable(Device& device, ScatterTable& table, Direction direction, Attr attrs) {
  unmap_sg(device, table.entries, direction, attrs);
  table.mapped = 0;
}

}  // namespace causeway::dma
