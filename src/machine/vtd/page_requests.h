// Pages that devices ask software for: the queue they are told in, and who waits for an answer (VT-d 7.4 to 7.7). The
// unit's lock guards it.
//
//   requests.add({requester, pasid, address, Access::kWrite}, answer);   // answer: kPending, in software's hands
//   requests.respond(requester, pasid, group, true);                     // kReady: the device tries again
//
// Every request is a group of its own, and the last of it. While the queue is full, or software has not cleared what it
// was told of that, requests are lost, and their devices told to try again.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/types.h"
#include "machine/register_page.h"
#include "machine/translation.h"
#include "machine/vtd/event_registers.h"
#include "machine/vtd/table_memory.h"

namespace causeway::machine::vtd {

class PageRequests {
 public:
  struct Request {
    Bdf requester;
    std::optional<uint32_t> pasid;
    uint64_t address;
    Access access;
  };
  // `page`: the unit's registers.
  PageRequests(RegisterPage page, InterruptSink& interrupts, const TableMemory& memory)
      : page_(page), memory_(memory), event_(page.block(hw::vtd::kPageRequestControl), interrupts) {}

  // Inside a pass. `answer` outlives the request: forget().
  void add(const Request& request, std::atomic<PageAnswer>& answer);
  void respond(Bdf requester, std::optional<uint32_t> pasid, uint64_t group, bool success);
  // Refuses those that `is_refused` names: their device may not ask any more.
  void refuse(const std::function<bool(Bdf)>& is_refused);
  void forget(const std::atomic<PageAnswer>& answer);
  bool empty() const { return waiting_.empty(); }

  void write_head(uint64_t value);
  void write_tail(uint64_t value);
  void write_address(uint64_t value);
  void write_status(uint32_t ones);
  void write_event(uint32_t offset, uint32_t value) { event_.write(offset, value); }

  uint64_t count() const { return count_; }
  uint64_t lost() const { return lost_; }

 private:
  struct Waiting {
    Bdf requester;
    std::optional<uint32_t> pasid;
    uint64_t group;
    std::atomic<PageAnswer>* answer;
  };
  uint64_t bytes() const;
  void raise(uint64_t bit);

  RegisterPage page_;
  const TableMemory& memory_;
  EventRegisters event_;
  uint64_t address_ = 0;
  uint64_t head_ = 0;
  uint64_t tail_ = 0;
  uint32_t status_ = 0;
  uint64_t next_group_ = 0;
  uint64_t count_ = 0;
  uint64_t lost_ = 0;
  std::vector<Waiting> waiting_;
};

}  // namespace causeway::machine::vtd
