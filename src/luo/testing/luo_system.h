// A machine, and one kernel with LUO after another on it, for tests and benchmarks.
//
//   LuoSystem system;                                  // cold boot; a FakeHandler is registered
//   SessionRef vm = must(system.luo().create_session("vm"));
//   must(vm->preserve(1, fake_file(5)));
//   system.kexec();
//   SessionRef again = must(system.luo().retrieve_session("vm"));
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/testing/results.h"
#include "kho/testing/test_machine.h"
#include "luo/orchestrator.h"
#include "luo/testing/fake_flb.h"
#include "luo/testing/fake_handler.h"

namespace causeway::luo::testing {

class LuoSystem;

struct BootOptions {
  Options luo;
  bool kho = true;
  bool register_handler = true;
  bool pages = true;        // the handler keeps a page of memory per file
  bool deserialize = true;  // at once
  bool commit = true;       // false: the old handover stays the valid one
  std::function<void(LuoSystem&)> before_luo;  // runs when KHO is up: to damage what was handed over
};

class LuoSystem {
 public:
  explicit LuoSystem(BootOptions options = {},
                     std::vector<mm::MemRange> ram = {{PhysAddr(0), MiB(32)}, {PhysAddr(GiB(4)), MiB(32)}})
      : machine_(std::move(ram)) {
    boot(options);
  }
  ~LuoSystem() { die(); }

  // A live update. Aborts if a handler refuses.
  void kexec(BootOptions options = {}) {
    must(luo_->serialize());
    generation_->commit(hw::HandoverKind::kOrderly);
    die();
    boot(options);
  }
  // The kernel dies; the next one finds what stands.
  void crash(BootOptions options = {}) {
    die();
    boot(options);
  }
  // The kernel is replaced, but this one is kept: its clients' descriptors are still open.
  std::unique_ptr<Orchestrator> kexec_keeping_old() {
    must(luo_->serialize());
    generation_->commit(hw::HandoverKind::kOrderly);
    return std::move(luo_);
  }

  Orchestrator& luo() { return *luo_; }
  kho::Kho& kho() { return *generation_->kho; }
  kho::Generation& generation() { return *generation_; }
  kho::TestMachine& machine() { return machine_; }
  FakeHandler& handler() { return *handler_; }
  Journal& journal() { return journal_; }
  uint64_t preserved() { return kho().stats().preserved_blocks; }
  // Memory of the old kernel that nobody has taken.
  uint64_t unrestored() { return kho().unrestored().size(); }

  // The descriptor in the handover that this kernel found.
  abi::Ser* incoming_ser() { return at<abi::Ser>(must(kho().retrieve_subtree(abi::kSubtree)).phys); }
  template <typename T>
  T* at(PhysAddr address) {
    return machine_.at<T>(address);
  }

 private:
  void boot(const BootOptions& options) {
    kho::KhoParams params = kho::test_params();
    params.enabled = options.kho;
    generation_ = std::make_unique<kho::Generation>(machine_, params);
    handler_ = std::make_unique<FakeHandler>(journal_, options.pages ? generation_->kho.get() : nullptr);
    if (options.before_luo) options.before_luo(*this);
    luo_ = must(Orchestrator::create(*generation_->kho, options.luo));
    must(luo_->publish_outgoing());
    if (options.register_handler && luo_->is_enabled()) must(luo_->register_handler(*handler_));
    if (options.commit && generation_->kho->is_enabled()) generation_->commit();
    if (options.deserialize && luo_->is_enabled()) (void)luo_->deserialize();
  }
  void die() {
    luo_.reset();
    handler_.reset();
    generation_.reset();
  }

  kho::TestMachine machine_;
  Journal journal_;
  std::unique_ptr<kho::Generation> generation_;
  std::unique_ptr<FakeHandler> handler_;
  std::unique_ptr<Orchestrator> luo_;
};

}  // namespace causeway::luo::testing
