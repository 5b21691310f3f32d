// A tracker for tests: writes down every hook that runs, as text.
//
//   Recorder::clear();
//   { MutexLock lock(mutex); }
//   EXPECT_EQ(Recorder::lines(), (std::vector<std::string>{"acquiring m exclusive", ...}));
//
// Takes the place of the empty hooks where a build defines CW_SYNC_TRACKER as this header. Objects
// without a name are left out.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "sync/track_types.h"

namespace causeway::sync::track {

class Recorder {
 public:
  static void clear() {
    std::lock_guard lock(mutex());
    text().clear();
  }
  static std::vector<std::string> lines() {
    std::lock_guard lock(mutex());
    return text();
  }
  // The line of the source that the last hook was given.
  static unsigned& last_line() {
    static unsigned line = 0;
    return line;
  }
  static void add(const char* hook, const Object& object, const std::string& detail, SourceLocation where) {
    if (object.name == nullptr) return;
    std::lock_guard lock(mutex());
    text().push_back(std::string(hook) + " " + object.name + detail);
    last_line() = where.line();
  }

 private:
  static std::mutex& mutex() {
    static std::mutex instance;
    return instance;
  }
  static std::vector<std::string>& text() {
    // Never freed: locks of static life report their end after everything else here is gone.
    static auto* instance = new std::vector<std::string>;
    return *instance;
  }
};

inline const char* text_of(Mode mode) { return mode == Mode::kExclusive ? " exclusive" : " shared"; }

inline void created(const Object& object, SourceLocation where) { Recorder::add("created", object, "", where); }
inline void destroyed(const Object& object) { Recorder::add("destroyed", object, "", {}); }
inline void acquiring(const Object& object, Mode mode, SourceLocation where) {
  Recorder::add("acquiring", object, text_of(mode), where);
}
inline void acquired(const Object& object, Mode mode, Attempt attempt, SourceLocation where) {
  Recorder::add("acquired", object, std::string(text_of(mode)) + (attempt == Attempt::kTry ? " try" : ""), where);
}
inline void releasing(const Object& object, Mode mode, SourceLocation where) {
  Recorder::add("releasing", object, text_of(mode), where);
}
inline void wait_begin(const Object& object, const Object* released, Timeout timeout, SourceLocation where) {
  std::string detail = timeout == Timeout::kSome ? " timed" : "";
  if (released != nullptr) detail += std::string(" without ") + released->name;
  Recorder::add("wait_begin", object, detail, where);
}
inline void wait_end(const Object& object, Outcome outcome, SourceLocation where) {
  Recorder::add("wait_end", object, outcome == Outcome::kTimeout ? " by time" : "", where);
}
inline void passed(const Object& object, SourceLocation where) { Recorder::add("passed", object, "", where); }
inline void event(const Object& object, Wakes who, SourceLocation where) {
  Recorder::add("event", object, who == Wakes::kAll ? " for all" : "", where);
}
inline void thread_started(const Object& object) { Recorder::add("thread_started", object, "", {}); }
inline void thread_exiting(const Object& object) { Recorder::add("thread_exiting", object, "", {}); }

}  // namespace causeway::sync::track
