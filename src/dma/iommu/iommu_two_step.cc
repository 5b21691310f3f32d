#include <algorithm>
#include <array>

#include "base/point.h"
#include "base/warn_once.h"
#include "dma/iommu/iommu_state.h"

namespace causeway::dma {

namespace {

bool inside(const IovaState& state, uint64_t offset, uint64_t size) {
  uint64_t end;
  return size != 0 && checked_add(offset, size, &end) && end <= state.size();
}

// A link without bounces. `address` and `phys` of the first byte; the granules around them are mapped, whose offsets
// have to agree or the domain refuses.
Status link_direct(IommuDma::State& state, Device& device, DmaAddr address, PhysAddr phys, uint64_t size,
                   Direction direction, Attr attrs) {
  const bool coherent = device.traits().coherent;
  std::optional<uint64_t> bytes = state.whole_granules(phys.value(), size);
  const uint64_t offset = state.offset_in_granule(phys.value());
  if (!bytes || address.value() < offset) return fail(EINVAL, "a link of no length or beyond all addresses");
  // sync() waits for it.
  if (!coherent && !has(attrs, Attr::kSkipCpuSync | Attr::kMmio)) state.dma.cache.for_device(phys, size, direction);
  return state.domain.map(Iova(address.value() - offset), phys - offset, *bytes, prot_of(direction, coherent, attrs));
}

Status bounce_and_link(IommuDma::State& state, Device& device, DmaAddr address, PhysAddr phys, uint64_t size,
                       Direction direction, Attr attrs) {
  const uint64_t offset = state.offset_in_granule(phys.value());
  Result<PhysAddr> bounce = state.bounce(device, phys, size, direction, attrs);
  if (!bounce) return fail(ENOMEM, "no bounce buffer for an end of the link");
  // The device finds the data at its offset in the granule only if the bounce buffer has the same one. The pool sees to
  // that if the device's min_align_mask says so; else the domain refuses an unaligned page.
  Status linked;
  if (state.offset_in_granule(bounce->value()) != offset)
    linked = fail(EINVAL, "bouncing lost the offset in the page: min_align_mask is too short");
  else
    linked = link_direct(state, device, address, *bounce, size, direction, attrs);
  if (!linked) IommuDma::State::unbounce(device, *bounce, size, direction, attrs | Attr::kSkipCpuSync);
  return linked;
}

}  // namespace

bool IommuDma::try_alloc(Device& device, IovaState& iova, PhysAddr phys, uint64_t size) {
  iova = {};
  if (size == 0 || (size & IovaState::kUsedSwiotlb) != 0) {
    CW_WARN_ONCE("dma", "{}: two-step map of {:#x} bytes, want 1 to 2^63 - 1", device.name(), size);
    return false;
  }
  std::optional<uint64_t> bytes = state_->whole_granules(phys.value(), size);
  if (!bytes) return false;
  std::optional<Iova> start = state_->take(device, *bytes, device.limit());
  if (!start) return false;
  iova.address = DmaAddr(start->value() + state_->offset_in_granule(phys.value()));
  iova.size_and_flag = size;
  return true;
}

Status IommuDma::link(Device& device, IovaState& iova, PhysAddr phys, uint64_t offset, uint64_t size,
                      Direction direction, Attr attrs) {
  const uint64_t head = state_->offset_in_granule(phys.value());
  if (head != 0 && offset > 0) {
    CW_WARN_ONCE("dma", "{}: link of {} at offset {:#x}, want a whole page", device.name(), phys, offset);
    return fail(EIO, "only the first link may begin inside a page");
  }
  const bool mmio = has(attrs, Attr::kMmio);
  const bool must_be_coherent = has(attrs, Attr::kRequireCoherent);
  if (must_be_coherent && (iova.size_and_flag & IovaState::kUsedSwiotlb) != 0) {
    CW_WARN_ONCE("dma", "{}: a link that must be coherent, after one that bounced", device.name());
    return fail(EOPNOTSUPP, "the request bounces already");
  }
  if (must_be_coherent && !device.traits().coherent) return fail(EOPNOTSUPP, "the device is not coherent");
  if (!inside(iova, offset, size)) return fail(EINVAL, "a link outside what was allocated");

  // Registers are in no cache line that something else shares: the kmalloc rule is not about them.
  const bool bounces = mmio && !state_->dma.config.compat_link_mmio_bounce
                           ? device.traits().untrusted
                           : State::may_bounce(device, size, direction);
  const DmaAddr address = iova.address + offset;
  if (!bounces || !state_->is_unaligned(phys, size))
    return link_direct(*state_, device, address, phys, size, direction, attrs);
  if (mmio || must_be_coherent) return fail(EPERM, "a link that has to bounce and must not");

  uint64_t done = 0;
  if (head != 0) {
    done = std::min(size, state_->granule - head);
    CW_TRY(bounce_and_link(*state_, device, address, phys, done, direction, attrs));
    iova.size_and_flag |= IovaState::kUsedSwiotlb;
  }
  Status linked;
  if (uint64_t middle = align_down(size - done, state_->granule); middle != 0) {
    linked = link_direct(*state_, device, address + done, phys + done, middle, direction, attrs);
    if (linked) done += middle;
  }
  CW_POINT("dma.iommu.link.before_tail");
  if (linked && done < size) {
    linked = bounce_and_link(*state_, device, address + done, phys + done, size - done, direction, attrs);
    if (linked) {
      done = size;
      iova.size_and_flag |= IovaState::kUsedSwiotlb;
    }
  }
  if (!linked && done != 0) unlink(device, iova, offset, done, direction, attrs | Attr::kSkipCpuSync);
  return linked;
}

Status IommuDma::sync(Device& device, IovaState& iova, uint64_t offset, uint64_t size) {
  if (!inside(iova, offset, size)) return fail(EINVAL, "a sync outside what was allocated");
  if (!device.traits().coherent) state_->dma.cache.flush();
  const uint64_t start = iova.address.value() + offset;
  state_->domain.sync_map(Iova(align_down(start, state_->granule)), *state_->whole_granules(start, size));
  return {};
}

// Always flushed at once, whatever the domain's type: the caller may use the addresses again without asking.
void IommuDma::unlink(Device& device, IovaState& iova, uint64_t offset, uint64_t size, Direction direction,
                      Attr attrs) {
  if (!inside(iova, offset, size)) {
    CW_WARN_ONCE("dma", "{}: unlink of {:#x} bytes at offset {:#x}, want them inside {:#x}", device.name(), size, offset,
                 iova.size());
    return;
  }
  const uint64_t granule = state_->granule;
  const uint64_t end = iova.address.value() + offset + size;
  uint64_t at = iova.address.value() + offset;
  const bool clean = !device.traits().coherent && !has(attrs, Attr::kSkipCpuSync | Attr::kMmio);
  const bool bounced = (iova.size_and_flag & IovaState::kUsedSwiotlb) != 0;

  // A bounce buffer is somebody else's as soon as it is freed, so first the device loses it. A link bounces its ends alone;
  // what is in hand is unmapped whenever there are too many.
  struct Bounce {
    PhysAddr phys;
    uint64_t size;
  };
  std::array<Bounce, 8> bounces;
  size_t held = 0;
  bool whole = true;
  uint64_t mapped = align_down(at, granule);
  auto unmap_until = [&](uint64_t here) {
    if (here != mapped) whole = state_->unmap_now(Iova(mapped), here - mapped) && whole;
    mapped = here;
    for (size_t i = 0; i < held; ++i)
      State::unbounce(device, bounces[i].phys, bounces[i].size, direction, attrs);
    held = 0;
  };
  while ((bounced || clean) && at < end) {
    const uint64_t next = std::min(end, align_down(at, granule) + granule);
    std::optional<PhysAddr> phys = state_->domain.iova_to_phys(Iova(at));
    if (!phys) {
      CW_WARN_ONCE("dma", "{}: unlink of {:#x}, which is not linked", device.name(), at);
      break;
    }
    if (clean) state_->dma.cache.for_cpu(*phys, next - at, direction);
    if (bounced && device.swiotlb() != nullptr && device.swiotlb()->contains(device, *phys)) {
      bounces[held++] = {*phys, next - at};
      if (held == bounces.size()) unmap_until(align_up(next, granule));
    }
    at = next;
  }
  if (clean) state_->dma.cache.flush();
  unmap_until(align_up(end, granule));
  if (!whole)
    CW_WARN_ONCE("dma", "{}: unlink of {:#x} bytes at {}, of which not all were linked", device.name(), size,
                 iova.address + offset);
}

void IommuDma::free(Device&, IovaState& iova) {
  if (!iova.in_use()) return;
  state_->give(Iova(align_down(iova.address.value(), state_->granule)),
               *state_->whole_granules(iova.address.value(), iova.size()));
}

}  // namespace causeway::dma
