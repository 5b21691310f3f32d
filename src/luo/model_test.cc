// Random operations against a model made of maps.
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <set>

#include "luo/testing/luo_system.h"

namespace causeway::luo::testing {
namespace {

struct ModelFile {
  uint64_t number = 0;
  bool retrieved = false;
};
struct ModelSession {
  std::map<uint64_t, ModelFile> files;
  SessionRef session;  // null: incoming and not retrieved
};

class Model {
 public:
  explicit Model(uint64_t seed) : random_(seed) {
    link();
    baseline_ = system_.preserved();
  }

  void step() {
    switch (random_() % 13) {
      case 0: case 1: return create();
      case 2: case 3: case 4: case 5: return preserve();
      case 6: return unpreserve();
      case 7: return close(outgoing_);
      case 8: return random_() % 4 == 0 ? update() : serialize_and_undo();
      case 9: return retrieve_session();
      case 10: return retrieve();
      case 11: return finish();
      case 12: return close(incoming_);
    }
  }
  void check() {
    Stats stats = system_.luo().stats();
    uint64_t files = 0, retrieved = 0, incoming = 0;
    for (const auto& [name, session] : outgoing_) files += session.files.size();
    for (const auto& [name, session] : incoming_) {
      incoming += session.files.size();
      for (const auto& [token, file] : session.files) retrieved += file.retrieved;
    }
    ASSERT_EQ(stats.outgoing_sessions, outgoing_.size());
    ASSERT_EQ(stats.outgoing_files, files);
    ASSERT_EQ(stats.incoming_sessions, incoming_.size());
    ASSERT_EQ(stats.incoming_files, incoming);
    ASSERT_EQ(stats.owned_files, files + retrieved);
    ASSERT_EQ(luo_flb_preserved(), files > 0);
  }
  void drain() {
    for (auto& [name, session] : outgoing_) session.session->close();
    EXPECT_EQ(system_.preserved(), baseline_);
  }

 private:
  bool luo_flb_preserved() {
    const bool preserved = system_.luo().get_outgoing(flb_).has_value();
    if (preserved) system_.luo().put_outgoing(flb_);
    return preserved;
  }
  void link() { must(system_.luo().register_flb(system_.handler(), flb_)); }
  std::string name() { return "s" + std::to_string(random_() % 8); }
  uint64_t token() { return random_() % 6; }
  bool is_owned(uint64_t number) {
    for (const auto& [name, session] : outgoing_)
      for (const auto& [token, file] : session.files)
        if (file.number == number) return true;
    for (const auto& [name, session] : incoming_)
      for (const auto& [token, file] : session.files)
        if (file.retrieved && file.number == number) return true;
    return false;
  }
  ModelSession* pick(std::map<std::string, ModelSession>& sessions) {
    auto it = sessions.find(name());
    return it == sessions.end() || it->second.session == nullptr ? nullptr : &it->second;
  }

  void create() {
    const std::string wanted = name();
    auto made = system_.luo().create_session(wanted);
    EXPECT_EQ(error_of(made), outgoing_.contains(wanted) ? EEXIST : 0);
    if (made) outgoing_[wanted].session = *made;
  }
  void preserve() {
    ModelSession* session = pick(outgoing_);
    if (session == nullptr) return;
    const uint64_t at = token();
    const uint64_t number = random_() % 40;
    const int told = random_() % 8 == 0 ? EXDEV : 0;
    system_.handler().script.preserve_error = told;
    const int want = session->files.contains(at) ? EEXIST : is_owned(number) ? EBUSY : told;
    EXPECT_EQ(error_of(session->session->preserve(at, fake_file(number))), want);
    system_.handler().script.preserve_error = 0;
    if (want == 0) session->files[at] = {number};
  }
  void unpreserve() {
    ModelSession* session = pick(outgoing_);
    if (session == nullptr) return;
    const uint64_t at = token();
    EXPECT_EQ(error_of(session->session->unpreserve(at)), session->files.erase(at) == 1 ? 0 : ENOENT);
  }
  void close(std::map<std::string, ModelSession>& sessions) {
    auto it = sessions.find(name());
    if (it == sessions.end() || it->second.session == nullptr) return;
    it->second.session->close();
    sessions.erase(it);
  }
  void serialize_and_undo() {
    std::set<uint64_t> numbers;
    for (const auto& [name, session] : outgoing_)
      for (const auto& [token, file] : session.files) numbers.insert(file.number);
    const uint64_t refused = random_() % 40;
    system_.handler().script.freeze_error = EXDEV;
    system_.handler().script.freeze_error_at = refused;
    EXPECT_EQ(error_of(system_.luo().serialize()), numbers.contains(refused) ? EXDEV : 0);
    system_.handler().script = {};
    system_.luo().undo_serialize();
  }
  void update() {
    system_.kexec();
    link();
    incoming_ = std::move(outgoing_);
    outgoing_.clear();
    for (auto& [name, session] : incoming_) session.session = nullptr;
  }
  void retrieve_session() {
    const std::string wanted = name();
    auto it = incoming_.find(wanted);
    auto got = system_.luo().retrieve_session(wanted);
    EXPECT_EQ(error_of(got), it == incoming_.end() ? ENOENT : it->second.session != nullptr ? EINVAL : 0);
    if (got) it->second.session = *got;
  }
  void retrieve() {
    ModelSession* session = pick(incoming_);
    if (session == nullptr) return;
    const uint64_t at = token();
    auto known = session->files.find(at);
    // What this kernel has preserved anew in the meantime is another file: no claim is lost by it.
    if (known != session->files.end() && !known->second.retrieved && is_owned(known->second.number)) return;
    auto file = session->session->retrieve(at);
    if (known == session->files.end()) {
      EXPECT_EQ(error_of(file), ENOENT);
      return;
    }
    EXPECT_EQ(number_of(must(std::move(file))), known->second.number);
    known->second.retrieved = true;
  }
  void finish() {
    ModelSession* session = pick(incoming_);
    if (session == nullptr) return;
    must(session->session->finish());
    session->files.clear();
  }

  std::mt19937_64 random_;
  Journal lines_;
  FakeFlb flb_{lines_};
  LuoSystem system_;
  uint64_t baseline_ = 0;
  std::map<std::string, ModelSession> outgoing_;
  std::map<std::string, ModelSession> incoming_;
};

TEST(Model, RandomOperationsAgreeWithIt) {
  log::set_level(log::Level::kError);
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Model model(seed);
    for (int i = 0; i < 400 && !::testing::Test::HasFatalFailure(); ++i) {
      model.step();
      model.check();
    }
    model.drain();
  }
  log::set_level(log::Level::kInfo);
}

}  // namespace
}  // namespace causeway::luo::testing
