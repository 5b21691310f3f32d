// Which devices a machine has, as text:
//
//   dma[@BB:DD.F][,width=32|40|64][,ats=0|1][,pasid=BITS]
//   nvme[@BB:DD.F][,file=PATH][,size=SIZE][,lba=512|4096][,queues=1..16][,cmb=SIZE|0][,shuffle=0|1][,latency_us=N]
//       [,ats=0|1][,pasid=BITS]
//
//   DeviceSpec spec = CW_TRY(parse_device_spec("dma@00:02.0,width=32"));
//   DeviceSpec disk = CW_TRY(parse_device_spec("nvme@00:03.0,size=64M,queues=4,cmb=1M"));
//   uint64_t ram = CW_TRY(parse_size("256M"));
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace causeway::machine {

enum class DeviceKind : uint8_t { kDmaEngine, kNvme };

struct NvmeOptions {
  std::string file;  // empty: anonymous memory, which goes with the machine; its name has no comma
  uint64_t size =
      MiB(64);  // bytes of the namespace; of a file: what it is grown to, 0: it exists and stays as it is
  uint32_t block_size = 512;
  unsigned queues = 4;      // I/O queue pairs
  uint64_t cmb = MiB(1);    // controller memory buffer, whole pages; BAR 0 is twice as much. 0: none
  bool shuffle = false;     // commands under way are completed in a random order
  uint32_t latency_us = 0;  // each command takes so long, and with `shuffle` anything up to twice that
};

struct DeviceSpec {
  DeviceKind kind = DeviceKind::kDmaEngine;
  Bdf bdf{0, 1, 0};
  unsigned address_width = 64;  // of a DMA engine: bits, at power-on and after a reset
  NvmeOptions nvme = {};
  bool ats = false;         // it can keep translations of its own
  unsigned pasid_bits = 0;  // it can name so many bits of address spaces; 0: none
};

// Without an address the device comes to the first free one after `taken`, from 00:01.0. EINVAL with the
// part that is wrong; bus 0 is the only one.
Result<DeviceSpec> parse_device_spec(std::string_view text, const std::vector<DeviceSpec>& taken = {});

// Bytes: a positive decimal number, optionally with K, M, G or T (powers of 1024). EINVAL, ERANGE.
Result<uint64_t> parse_size(std::string_view text);

}  // namespace causeway::machine
