#include "machine/bus_memory.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cstring>

#include "hw/pci.h"

namespace causeway::machine {

Result<UniqueFd> create_sealed_memfd(const char* name, uint64_t size) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return fail_with_errno("cannot create a memfd");
  if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return fail_with_errno("cannot size a memfd");
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return fail_with_errno("cannot seal a memfd");
  return fd;
}

Result<BusMemory> BusMemory::create() {
  UniqueFd fd = CW_TRY(create_sealed_memfd("causeway-bus", hw::kBusSize));
  Mapping mapping = CW_TRY(Mapping::shared(fd.get(), 0, hw::kBusSize));
  BusMemory bus(std::move(fd), std::move(mapping));
  // A function that does not exist answers all ones.
  std::memset(bus.mapping_.data() + hw::kEcam, 0xff, hw::kEcamSize);
  hw::BusHeader& header = bus.header();
  header.version = hw::kBusVersion;
  header.bus_size = hw::kBusSize;
  header.magic = hw::kBusMagic;
  return bus;
}

std::byte* BusMemory::ecam(Bdf bdf) const {
  return mapping_.data() + hw::kEcam + hw::pci::ecam_offset(bdf);
}

std::byte* BusMemory::bar(PhysAddr address) const {
  return mapping_.data() + hw::kBarWindow + (address - hw::kBarBase);
}

}  // namespace causeway::machine
