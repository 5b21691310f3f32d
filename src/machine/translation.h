// What stands between a device's bus address and physical memory: nothing, or an IOMMU.
//
//   std::unique_ptr<TranslationPort> port = source.open(requester);
//   Run run = port->translate(std::nullopt, address, bytes, Access::kWrite);
//   if (run.bytes == 0) refuse();
//
// A source gives each bus master a port of its own, which may keep what only that master's thread needs. Called on DMA
// threads, inside the pass of the requester's gate: an implementation may drop tables after it has drained the gates.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "base/types.h"

namespace causeway::machine {

enum class Access : uint8_t { kRead, kWrite };
// What became of a page that a device has asked for: it may try again, or give up.
enum class PageAnswer : uint8_t { kPending, kReady, kRefused };

class TranslationPort {
 public:
  virtual ~TranslationPort() = default;
  struct Run {
    PhysAddr address;
    uint64_t bytes = 0;  // that continue from there, at most what was asked; 0: refused
  };
  // `pasid`: the address space of the device's that the request is for; none: the requester's own.
  virtual Run translate(std::optional<uint32_t> pasid, DmaAddr address, uint64_t bytes, Access access) = 0;
  // The device may, or may no longer, ask for translations ahead and keep them. Any thread.
  virtual void set_ats(bool) {}
  // Asks software to make a page accessible (PRI), inside the pass. One at a time: a new one takes the other's place.
  virtual void request_page(std::optional<uint32_t> /*pasid*/, DmaAddr, Access) {}
  virtual PageAnswer page_answer() const { return PageAnswer::kRefused; }
};

class TranslationSource {
 public:
  virtual ~TranslationSource() = default;
  // The port does not outlive the source. Before DMA starts.
  virtual std::unique_ptr<TranslationPort> open(Bdf requester) = 0;
};

// A source without state per master and without PASIDs.
class Translation : public TranslationSource {
 public:
  using Run = TranslationPort::Run;
  virtual Run translate(Bdf requester, DmaAddr address, uint64_t bytes, Access access) = 0;

  std::unique_ptr<TranslationPort> open(Bdf requester) override {
    class Port final : public TranslationPort {
     public:
      Port(Translation& source, Bdf bdf) : source_(source), requester_(bdf) {}
      Run translate(std::optional<uint32_t> pasid, DmaAddr address, uint64_t bytes, Access access) override {
        if (pasid) return {};
        return source_.translate(requester_, address, bytes, access);
      }

     private:
      Translation& source_;
      const Bdf requester_;
    };
    return std::make_unique<Port>(*this, requester);
  }
};

// Bus addresses are physical addresses.
class IdentityTranslation final : public Translation {
 public:
  Run translate(Bdf, DmaAddr address, uint64_t bytes, Access) override {
    return {PhysAddr(address.value()), bytes};
  }
};

}  // namespace causeway::machine
