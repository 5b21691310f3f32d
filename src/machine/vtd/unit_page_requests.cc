// Pages that devices ask for, as far as the tables decide whether they may.
#include "machine/vtd/unit.h"

namespace causeway::machine::vtd {

using namespace hw::vtd;

using Outcome = InvalidationQueue::Host::Outcome;

ScalableContext Unit::find_context_locked(Bdf requester) {
  if (const ScalableContext* known = caches_.find_context(requester)) return *known;
  const ScalableContext context = read_context(memory_, traits_, root_.load(std::memory_order_acquire), requester);
  if (context.reason == 0 || spec_.caching_mode) caches_.insert_context(requester, context);
  return context;
}

void Unit::request_page(const Question& question, std::atomic<PageAnswer>& answer) {
  std::lock_guard lock(mutex_);
  answer.store(PageAnswer::kRefused, std::memory_order_release);
  if (!enabled() || !spec_.page_requests) return;
  ScalableContext context;
  if (scalable()) context = find_context_locked(question.requester);
  uint8_t reason = context.reason;
  if (reason == 0 && !context.page_requests) reason = kPageRequestDisabled;
  if (reason == 0 && question.pasid && !context.pasid) reason = kPasidDisabled;
  if (reason != 0) {
    (void)refuse_locked(question, reason, context.no_record);
    return;
  }
  page_requests_.add({question.requester, question.pasid, question.address, question.access}, answer);
}

void Unit::forget_page_request(const std::atomic<PageAnswer>& answer) {
  std::lock_guard lock(mutex_);
  page_requests_.forget(answer);
}

Outcome Unit::respond_to_page(const Descriptor& descriptor) {
  std::optional<uint32_t> pasid;
  if (ResponsePasidPresent::get(descriptor.w[0]) != 0) pasid = static_cast<uint32_t>(DescriptorPasid::get(descriptor.w[0]));
  std::lock_guard lock(mutex_);
  page_requests_.respond(Bdf(static_cast<uint16_t>(ResponseSource::get(descriptor.w[0]))), pasid,
                         ResponseGroup::get(descriptor.w[1]),
                         ResponseCode::get(descriptor.w[0]) == kResponseSuccess);
  return Outcome::kDone;
}

// A device that may not ask any more is not left waiting for a kernel that does not know of it.
void Unit::refuse_page_requests_locked() {
  if (page_requests_.empty()) return;
  page_requests_.refuse([this](Bdf requester) {
    if (!enabled() || !scalable()) return true;
    const ScalableContext context =
        read_context(memory_, traits_, root_.load(std::memory_order_acquire), requester);
    return context.reason != 0 || !context.page_requests;
  });
}

}  // namespace causeway::machine::vtd
