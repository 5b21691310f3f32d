#include "luo/orchestrator.h"

#include <atomic>
#include <cstring>
#include <unordered_set>

#include "base/log.h"
#include "base/point.h"
#include "luo/core.h"
#include "luo/incoming.h"
#include "luo/publish_word.h"

namespace causeway::luo {

struct Orchestrator::State {
  explicit State(kho::Kho& kho) : core(std::make_shared<Core>(kho)) {}

  std::shared_ptr<Core> core;
  std::atomic<bool> enabled{false};
  abi::Ser* ser = nullptr;           // outgoing
  abi::FlbHeaderSer* flbs = nullptr;  // outgoing
  uint64_t incoming_num = 0;

  mutable sync::Mutex mutex{"luo.deserialize"};
  std::optional<kho::BlockSet> incoming CW_GUARDED_BY(mutex);  // of abi::SessionSer, until deserialized
  std::optional<Error> refusal CW_GUARDED_BY(mutex);
  bool deserialized CW_GUARDED_BY(mutex) = false;
  std::atomic<bool> serialized{false};

  Status make_outgoing();
  void drop_outgoing();
  Status deserialize_all() CW_REQUIRES(mutex);
  Status deserialize_one(const abi::SessionSer& entry);
  Status require_enabled() const {
    if (enabled.load(std::memory_order_acquire)) return {};
    return fail(EOPNOTSUPP, "LUO is off");
  }
};

Orchestrator::Orchestrator(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Orchestrator>> Orchestrator::create(kho::Kho& kho, Options options) {
  auto state = std::make_unique<State>(kho);
  if (!kho.is_enabled()) {
    if (options.enabled) log::info("luo", "off, because KHO is");
    return std::unique_ptr<Orchestrator>(new Orchestrator(std::move(state)));
  }
  state->enabled = options.enabled;
  auto incoming = read_incoming(kho);
  {
    sync::MutexLock lock(state->mutex);
    if (!incoming.has_value()) {
      log::error("luo", "what the previous kernel left is refused: {}; its memory stays reserved",
                 to_string(incoming.error()));
      state->refusal = incoming.error();
    } else if (incoming->present) {
      state->incoming_num = incoming->liveupdate_num;
      state->incoming = std::move(incoming->sessions);
      state->core->flbs.adopt(std::move(incoming->flbs));
    }
  }
  return std::unique_ptr<Orchestrator>(new Orchestrator(std::move(state)));
}

Orchestrator::~Orchestrator() {
  Core& core = *state_->core;
  core.gate.remove();
  core.outgoing.abandon();
  core.incoming.abandon();
}

bool Orchestrator::is_enabled() const {
  return state_->enabled.load(std::memory_order_acquire);
}

Status Orchestrator::State::make_outgoing() {
  CW_FAIL_POINT("luo.publish.alloc");
  ser = static_cast<abi::Ser*>(CW_TRY(core->kho.alloc_preserve(sizeof(abi::Ser))));
  CW_FAIL_POINT("luo.publish.alloc_flbs");
  flbs = static_cast<abi::FlbHeaderSer*>(CW_TRY(core->kho.alloc_preserve(kPageSize)));
  FlbSet::clear(flbs);
  std::memcpy(ser->compatible, abi::kCompatible, sizeof(ser->compatible));
  ser->liveupdate_num = incoming_num + 1;
  ser->flbs_pa = core->kho.map().direct_map().to_phys(flbs).value();
  CW_FAIL_POINT("luo.publish.add_subtree");
  return core->kho.add_subtree(abi::kSubtree, ser, sizeof(abi::Ser));
}

void Orchestrator::State::drop_outgoing() {
  core->kho.unpreserve_free(flbs);
  core->kho.unpreserve_free(ser);
  flbs = nullptr;
  ser = nullptr;
}

Status Orchestrator::publish_outgoing() {
  if (!is_enabled() || state_->ser != nullptr) return {};
  Status made = state_->make_outgoing();
  if (made.has_value()) return {};
  log::error("luo", "off, because its handover cannot be made: {}", to_string(made.error()));
  state_->drop_outgoing();
  state_->enabled = false;
  return made;
}

Status Orchestrator::register_handler(FileHandler& handler) {
  CW_TRY(state_->require_enabled());
  return state_->core->registry.add(handler);
}
Status Orchestrator::unregister_handler(FileHandler& handler) {
  return state_->core->registry.remove(handler);
}
Status Orchestrator::register_flb(FileHandler& handler, Flb& flb) {
  CW_TRY(state_->require_enabled());
  return state_->core->registry.link(handler, flb);
}
Status Orchestrator::unregister_flb(FileHandler& handler, Flb& flb) {
  return state_->core->registry.unlink(handler, flb);
}

Status Orchestrator::State::deserialize_one(const abi::SessionSer& entry) {
  CW_FAIL_POINT("luo.deserialize.session");
  const auto name = text_of(entry.name);
  if (!name.has_value()) return fail(EINVAL, "LUO: the name of a session is empty or does not end");
  auto session = std::make_shared<Session>(core, std::string(*name), Session::Kind::kIncoming);
  CW_TRY(core->incoming.insert(session));
  return session->deserialize(entry.file_set);
}

Status Orchestrator::State::deserialize_all() {
  std::unordered_set<uint64_t> chains;
  while (const auto* entry = incoming->read<abi::SessionSer>()) {
    const uint64_t files = entry->file_set.files;
    if (files != 0 && !chains.insert(files).second) return fail(EINVAL, "LUO: two sessions share their files");
    CW_TRY(deserialize_one(*entry));
  }
  return {};
}

Status Orchestrator::deserialize() {
  State& s = *state_;
  Gate::Pass pass(s.core->gate);
  if (!pass) return fail(ENODEV, "this kernel has been replaced");
  sync::MutexLock lock(s.mutex);
  if (!s.deserialized) {
    s.deserialized = true;
    if (!s.refusal.has_value() && s.incoming.has_value()) {
      if (Status done = s.deserialize_all(); done.has_value()) {
        s.incoming->destroy();
      } else {
        log::error("luo", "the sessions of the previous kernel are refused: {}; their memory stays reserved",
                   to_string(done.error()));
        s.refusal = done.error();
      }
      s.incoming.reset();
    }
  }
  if (s.refusal.has_value()) return fail(EIO, "the handover of the previous kernel was refused");
  return {};
}

Result<SessionRef> Orchestrator::create_session(std::string_view name) {
  State& s = *state_;
  CW_TRY(s.require_enabled());
  if (name.empty() || name.size() >= abi::kNameLength || name.find('\0') != std::string_view::npos)
    return fail(EINVAL, "the name of a session is empty or longer than 63 bytes");
  CW_FAIL_POINT("luo.session.create");
  auto session = std::make_shared<Session>(s.core, std::string(name), Session::Kind::kOutgoing);
  Gate::Pass pass(s.core->gate);
  if (!pass) return fail(ENODEV, "this kernel has been replaced");
  CW_TRY(s.core->outgoing.insert(session));
  return session;
}

Result<SessionRef> Orchestrator::retrieve_session(std::string_view name) {
  State& s = *state_;
  CW_TRY(s.require_enabled());
  Gate::Pass pass(s.core->gate);
  if (!pass) return fail(ENODEV, "this kernel has been replaced");
  SessionRef session = s.core->incoming.find(name);
  if (session == nullptr) return fail(ENOENT, "no incoming session of this name");
  CW_FAIL_POINT("luo.session.retrieve");
  CW_TRY(session->mark_retrieved());
  return session;
}

Status Orchestrator::serialize() {
  State& s = *state_;
  if (!is_enabled() || s.ser == nullptr) return {};
  CW_FAIL_POINT("luo.serialize.start");
  if (!s.core->gate.shut()) return fail(ENODEV, "this kernel has been replaced");
  auto head = s.core->outgoing.freeze();
  if (!head.has_value()) {
    s.core->gate.open();
    return fail(head.error());
  }
  // The sessions come last: the next kernel that finds them must find their FLBs.
  s.core->flbs.serialize(s.flbs);
  CW_POINT("luo.serialize.before_publish");
  publish_word(s.ser, offsetof(abi::Ser, sessions_pa), head->value());
  CW_POINT("luo.serialize.after_publish");
  s.serialized = true;
  return {};
}

void Orchestrator::undo_serialize() {
  State& s = *state_;
  if (!s.serialized.exchange(false)) return;
  publish_word(s.ser, offsetof(abi::Ser, sessions_pa), 0);
  CW_POINT("luo.undo.after_publish");
  FlbSet::clear(s.flbs);
  s.core->outgoing.unfreeze();
  s.core->gate.open();
}

Result<std::shared_ptr<void>> Orchestrator::get_outgoing(const Flb& flb) {
  CW_TRY(state_->require_enabled());
  return state_->core->flbs.get_outgoing(flb);
}
void Orchestrator::put_outgoing(const Flb& flb) {
  state_->core->flbs.put_outgoing(flb);
}
Result<std::shared_ptr<void>> Orchestrator::get_incoming(const Flb& flb) {
  CW_TRY(state_->require_enabled());
  return state_->core->flbs.get_incoming(flb);
}
void Orchestrator::put_incoming(const Flb& flb) {
  state_->core->flbs.put_incoming(flb);
}

Stats Orchestrator::stats() const {
  const State& s = *state_;
  Stats stats{.enabled = is_enabled(), .liveupdate_num = s.incoming_num};
  {
    sync::MutexLock lock(s.mutex);
    stats.deserialized = s.deserialized;
    if (s.refusal.has_value()) stats.refusal = to_string(*s.refusal);
  }
  for (const SessionRef& session : s.core->outgoing.all()) {
    ++stats.outgoing_sessions;
    stats.outgoing_files += session->files();
  }
  for (const SessionRef& session : s.core->incoming.all()) {
    ++stats.incoming_sessions;
    stats.incoming_files += session->files();
  }
  stats.owned_files = s.core->ownership.size();
  stats.handlers = s.core->registry.size();
  stats.flbs = s.core->flbs.size();
  stats.serialized = s.serialized;
  return stats;
}

}  // namespace causeway::luo
