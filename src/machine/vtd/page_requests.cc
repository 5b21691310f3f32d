#include "machine/vtd/page_requests.h"

#include "hw/vtd.h"

namespace causeway::machine::vtd {

using namespace hw::vtd;

namespace {
constexpr uint64_t kEntryBytes = sizeof(PageRequest);
}  // namespace

uint64_t PageRequests::bytes() const {
  return kPageSize << QueueSize::get(address_);
}

void PageRequests::add(const Request& request, std::atomic<PageAnswer>& answer) {
  forget(answer);
  const uint64_t next = (tail_ + kEntryBytes) % bytes();
  const PhysAddr entry((address_ & kAddressMask) + tail_);
  const uint64_t group = next_group_++ % (RequestGroup::kMask / RequestLast::kMask / 2 + 1);
  const uint64_t words[] = {
      PageRequestType::make(1) | RequestPasidPresent::make(request.pasid.has_value()) |
          RequestSource::make(request.requester.value()) | RequestPasid::make(request.pasid.value_or(0)),
      RequestRead::make(request.access == Access::kRead) | RequestWrite::make(request.access == Access::kWrite) |
          RequestLast::make(1) | RequestGroup::make(group) | (request.address & kAddressMask)};
  const bool lost = PageRequestOverflow::get(status_) != 0 || next == head_ % bytes();
  if (lost || !memory_.store(entry + 8, words[1]) || !memory_.store(entry, words[0])) {
    ++lost_;
    answer.store(PageAnswer::kReady, std::memory_order_release);
    return raise(PageRequestOverflow::kMask);
  }
  ++count_;
  answer.store(PageAnswer::kPending, std::memory_order_release);
  waiting_.push_back({request.requester, request.pasid, group, &answer});
  tail_ = next;
  page_.set64(kPageRequestTail, tail_);
  raise(PageRequestPending::kMask);
}

void PageRequests::raise(uint64_t bit) {
  const bool set = (status_ & bit) != 0;
  status_ |= static_cast<uint32_t>(bit);
  page_.set32(kPageRequestStatus, status_);
  if (!set) event_.raise();
}

void PageRequests::respond(Bdf requester, std::optional<uint32_t> pasid, uint64_t group, bool success) {
  std::erase_if(waiting_, [&](const Waiting& one) {
    if (one.requester != requester || one.pasid != pasid || one.group != group) return false;
    one.answer->store(success ? PageAnswer::kReady : PageAnswer::kRefused, std::memory_order_release);
    return true;
  });
}

void PageRequests::refuse(const std::function<bool(Bdf)>& is_refused) {
  std::erase_if(waiting_, [&](const Waiting& one) {
    if (!is_refused(one.requester)) return false;
    one.answer->store(PageAnswer::kRefused, std::memory_order_release);
    return true;
  });
}

void PageRequests::forget(const std::atomic<PageAnswer>& answer) {
  std::erase_if(waiting_, [&](const Waiting& one) { return one.answer == &answer; });
}

void PageRequests::write_head(uint64_t value) {
  head_ = value;
  page_.set64(kPageRequestHead, value);
}

void PageRequests::write_tail(uint64_t value) {
  tail_ = value % bytes() & ~(kEntryBytes - 1);
  page_.set64(kPageRequestTail, tail_);
}

void PageRequests::write_address(uint64_t value) {
  address_ = value;
  page_.set64(kPageRequestAddress, value);
}

void PageRequests::write_status(uint32_t ones) {
  status_ &= ~ones;
  if (status_ == 0) event_.forget();
  page_.set32(kPageRequestStatus, status_);
}

}  // namespace causeway::machine::vtd
