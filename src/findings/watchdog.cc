#include "findings/watchdog.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>

#include "findings/thread_snapshot.h"
#include "findings/words.h"

namespace causeway::findings {

Tasks tasks_of(int pid) {
  Tasks tasks;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    std::ifstream in(entry.path() / "stat");
    std::string line;
    std::getline(in, line);
    // The name may have anything in it, brackets too.
    const size_t name_end = line.rfind(')');
    Task task;
    unsigned long user = 0, system = 0;
    if (name_end == std::string::npos ||
        std::sscanf(line.c_str() + name_end + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &task.state, &user, &system) != 3)
      continue;
    task.ticks = uint64_t{user} + system;
    tasks[std::atoi(entry.path().filename().c_str())] = task;
  }
  return tasks;
}

namespace {

using dept::index_of;
using dept::Kind;
using dept::ObjectId;
using dept::ThreadId;

enum class Ends : uint8_t { kByOwner, kByThread, kByEvent, kFromOutside };

Ends what_ends(Kind kind) {
  switch (kind) {
    case Kind::kMutex: case Kind::kSpinLock: case Kind::kRwLock: case Kind::kLoader: case Kind::kOnce: case Kind::kStaticInit: case Kind::kWork:
      return Ends::kByOwner;
    case Kind::kThread: return Ends::kByThread;
    case Kind::kFile: case Kind::kExit: return Ends::kFromOutside;
    default: return Ends::kByEvent;
  }
}

bool is_alive(int pid) { return pid > 0 && (::kill(pid, 0) == 0 || errno == EPERM); }

// Whether a handler of the program's own could make something happen: signals it catches, but for faults and libc's own.
bool catches_signals(int pid) {
  std::ifstream in(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("SigCgt:")) continue;
    uint64_t caught = std::strtoull(line.c_str() + 7, nullptr, 16);
    for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE, 32, 33}) caught &= ~(uint64_t{1} << (signal - 1));
    return caught != 0;
  }
  return true;
}

// Memory that other processes share: they may end the wait.
bool is_shared(int pid, uint64_t address) {
  std::ifstream in(fmt::format("/proc/{}/maps", pid));
  for (std::string line; std::getline(in, line);) {
    unsigned long begin = 0, end = 0;
    char permissions[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &begin, &end, permissions) != 3) continue;
    if (address >= begin && address < end) return permissions[3] == 's';
  }
  return true;
}

std::string hash_of(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

// Looks at which nothing has changed, before a word is said: two could be one moment of a machine that does other things.
constexpr unsigned kLooks = 4;

uint64_t mixed(uint64_t hash, uint64_t word) { return (hash ^ word) * 0x100000001b3 + (hash >> 29); }

// What is seen of a task, compared with the last time.
const Quiet& compare(QuietTasks& quiet, const Recording& recording, int tid, const Task& task, const ThreadNow* thread, uint64_t now_ns) {
  uint64_t mark = mixed(0xcbf29ce484222325, task.ticks);
  if (thread != nullptr) {
    mark = mixed(mixed(mark, thread->sequence), uint64_t{thread->waits} << 32 | index_of(thread->object));
    for (const HeldNow& held : thread->held) mark = mixed(mark, index_of(held.object));
  }
  Quiet& known = quiet[{&recording, tid}];
  if (known.looks == 0 || known.mark != mark || task.state == 'R') known = {mark, now_ns, 0, known.sequence, known.waits_since_ns};
  ++known.looks;
  if (thread != nullptr && thread->waits && (known.waits_since_ns == 0 || known.sequence != thread->sequence)) {
    known.sequence = thread->sequence;
    known.waits_since_ns = now_ns;
  }
  return known;
}

// The stack of a wait, if it is this wait's: a recorded one begins where the thread waits.
Trace where_it_waits(Story& story, const ThreadNow& thread) {
  const dept::Arena::Frames frames = story.arena().frames(thread.stack);
  const bool is_its = frames.depth > 0 && (thread.site == 0 || frames.frame[0].is_source() || frames.frame[0].pc() == thread.site);
  return is_its ? story.trace(thread.stack) : story.trace_of(thread.site);
}

// One process at one moment.
class Scene {
 public:
  Scene(Recording& recording, QuietTasks& quiet, const Tasks& tasks, uint64_t now_ns, uint64_t hang_ns)
      : recording_(recording), arena_(recording.arena), pid_(recording.arena.header().pid), threads_(snapshot(recording.arena)) {
    std::map<int, size_t> by_tid;
    for (size_t i = 0; i < threads_.size(); ++i) {
      by_id_[threads_[i].thread] = i;
      by_tid[threads_[i].tid] = i;
    }
    const auto stays_quiet = [&](int tid, const Task& task, ThreadNow* thread) {
      const Quiet& known = compare(quiet, recording, tid, task, thread, now_ns);
      if (thread != nullptr) thread->since_ns = known.since_ns;
      return known.looks >= kLooks && known.since_ns + hang_ns <= now_ns;
    };
    all_quiet_ = whole_process_ = !tasks.empty();
    for (const auto& [tid, task] : tasks) {
      const auto at = by_tid.find(tid);
      const bool is_quiet = stays_quiet(tid, task, at == by_tid.end() ? nullptr : &threads_[at->second]);
      const bool is_hung = is_quiet && at != by_tid.end() && can_hang(threads_[at->second]);
      if (is_hung) hung_.insert(at->second);
      all_quiet_ &= is_quiet;
      whole_process_ &= is_hung;
    }
  }

  bool nobody_hangs() const { return hung_.empty(); }

  std::vector<Finding> stuck(uint64_t now_ns) {
    std::vector<Finding> findings;
    const std::set<size_t> certain = narrow(hung_, false);
    tell(certain, whole_process_ && has_event(certain) && catches_signals(pid_) ? Level::kPossible : Level::kCertain, now_ns, &findings);
    if (certain != hung_) {
      std::set<size_t> likely = narrow(hung_, true);
      for (size_t i : certain) likely.erase(i);
      // Whoever still moves might do what they wait for.
      if (!likely.empty()) tell(likely, all_quiet_ ? Level::kLikely : Level::kPossible, now_ns, &findings);
    }
    return findings;
  }

  std::string key(const std::set<size_t>& who) const {
    std::string text = fmt::format("{} {}{}", pid_, all_quiet_, whole_process_);
    for (size_t i : who) text += fmt::format(" {}:{}", index_of(threads_[i].thread), threads_[i].sequence);
    return text;
  }
  const std::set<size_t>& hung() const { return hung_; }
  uint32_t sequence_of(ThreadId thread) const {
    const auto at = by_id_.find(thread);
    return at == by_id_.end() ? 0 : threads_[at->second].sequence;
  }

 private:
  bool can_hang(const ThreadNow& thread) const { return thread.waits && !thread.timed && ends(thread) != Ends::kFromOutside; }
  Ends ends(const ThreadNow& thread) const {
    const Kind kind = arena_.at<dept::Object>(thread.object).kind;
    return what_ends(kind == Kind::kUnknown ? arena_.at<dept::Class>(thread.cls).kind : kind);
  }
  bool has_event(const std::set<size_t>& who) const {
    return std::any_of(who.begin(), who.end(), [&](size_t i) { return ends(threads_[i]) == Ends::kByEvent; });
  }

  // Who has to do something before this one goes on.
  std::vector<size_t> owners(const ThreadNow& waiter) const {
    std::vector<size_t> list;
    for (size_t i = 0; i < threads_.size(); ++i) {
      const bool is_it = ends(waiter) == Ends::kByThread
                             ? arena_.at<dept::Thread>(threads_[i].thread).object.load(std::memory_order_relaxed) == index_of(waiter.object)
                             : std::any_of(threads_[i].held.begin(), threads_[i].held.end(),
                                           [&](const HeldNow& held) { return held.object == waiter.object; });
      if (is_it) list.push_back(i);
    }
    return list;
  }

  // Threads that made this event happen before.
  std::set<ThreadId> usual_makers(const ThreadNow& waiter) const {
    std::set<ThreadId> makers;
    const uint32_t limit = arena_.used<dept::Edge>();
    auto edge_id = dept::EdgeId(arena_.at<dept::Class>(waiter.cls).first_out.load(std::memory_order_acquire));
    for (uint32_t i = 0; edge_id != dept::EdgeId::kNone && i < limit; ++i) {
      const dept::Edge& edge = arena_.at<dept::Edge>(edge_id);
      auto id = dept::WitnessId(edge.first_witness.load(std::memory_order_acquire));
      for (uint32_t k = 0; id != dept::WitnessId::kNone && k < 256; ++k) {
        const dept::Witness& witness = arena_.at<dept::Witness>(id);
        if ((witness.flags & (dept::Witness::kWindow | dept::Witness::kPredicted)) != 0) makers.insert(witness.thread);
        id = witness.next;
      }
      edge_id = edge.next_out;
    }
    return makers;
  }

  bool stays(size_t i, const std::set<size_t>& who, bool by_habit) {
    const ThreadNow& thread = threads_[i];
    auto is_in = [&](size_t other) { return who.contains(other); };
    if (const Ends how = ends(thread); how != Ends::kByEvent) {
      const std::vector<size_t> list = owners(thread);
      return std::any_of(list.begin(), list.end(), is_in);
    }
    if (is_shared(pid_, arena_.at<dept::Object>(thread.object).address)) return false;
    if (!by_habit) return whole_process_ && who == hung_;
    std::set<ThreadId> makers = usual_makers(thread);
    makers.erase(thread.thread);  // whoever sleeps does not wake itself: says nothing about who will
    return !makers.empty() && std::all_of(makers.begin(), makers.end(), [&](ThreadId maker) {
      auto at = by_id_.find(maker);
      return at == by_id_.end() || who.contains(at->second);
    });
  }

  // The largest part of `who` of which each waits for another of it.
  std::set<size_t> narrow(std::set<size_t> who, bool by_habit) {
    for (bool changed = true; changed;) {
      std::set<size_t> left;
      for (size_t i : who)
        if (stays(i, who, by_habit)) left.insert(i);
      changed = left.size() != who.size();
      who = std::move(left);
    }
    return who;
  }

  std::optional<size_t> next(size_t i, const std::set<size_t>& who) const {
    const ThreadNow& thread = threads_[i];
    if (ends(thread) == Ends::kByEvent) {
      for (ThreadId maker : usual_makers(thread))
        if (auto at = by_id_.find(maker); at != by_id_.end() && who.contains(at->second)) return at->second;
      return std::nullopt;
    }
    for (size_t owner : owners(thread))
      if (who.contains(owner)) return owner;
    return std::nullopt;
  }

  Hop hop(size_t i, const ThreadNow* waits_for_it) {
    Story& story = recording_.story;
    const ThreadNow& thread = threads_[i];
    Hop hop;
    hop.thread = story.actor(thread.thread);
    hop.wanted = story.thing(thread.object, thread.cls, thread.event);
    hop.wait = where_it_waits(story, thread);
    if (waits_for_it == nullptr) return hop;
    hop.owed = story.thing(waits_for_it->object, waits_for_it->cls, waits_for_it->event);
    hop.holds = false;
    for (const HeldNow& held : thread.held) {
      if (held.object != waits_for_it->object) continue;
      hop.holds = ends(*waits_for_it) == Ends::kByOwner;
      hop.owed.event = held.event;
      hop.start = story.trace(held.stack);
      if (hop.start.empty()) hop.start = story.trace_of(held.site);
      complete(&hop.start, hop.wait);
    }
    return hop;
  }

  void tell(const std::set<size_t>& who, Level level, uint64_t now_ns, std::vector<Finding>* findings) {
    std::set<size_t> told;
    const size_t before = findings->size();
    for (size_t start : who) {
      std::vector<size_t> path;
      std::optional<size_t> at = start;
      while (at && !told.contains(*at) && std::find(path.begin(), path.end(), *at) == path.end()) {
        path.push_back(*at);
        at = next(*at, who);
      }
      if (!at || told.contains(*at)) continue;
      path.erase(path.begin(), std::find(path.begin(), path.end(), *at));
      told.insert(path.begin(), path.end());
      Finding finding;
      finding.object.kind = Kind::kUnknown;
      // `path` follows who waits for whom; each owes what the one before it waits for.
      for (size_t k = 0; k < path.size(); ++k)
        finding.hops.push_back(hop(path[k], &threads_[path[(k + path.size() - 1) % path.size()]]));
      const auto holder = std::find_if(finding.hops.begin(), finding.hops.end(), [](const Hop& hop) { return hop.holds; });
      if (holder != finding.hops.end()) std::rotate(finding.hops.begin(), holder, finding.hops.end());
      finish(&finding, level, now_ns, path);
      findings->push_back(std::move(finding));
    }
    std::vector<size_t> rest;
    for (size_t i : who)
      if (!told.contains(i)) rest.push_back(i);
    if (rest.empty()) return;
    if (findings->size() > before) {
      for (size_t i : rest) {
        const Hop waits = hop(i, nullptr);
        findings->back().behind.push_back(fmt::format("{} waits at {} for {}", in_words(waits.thread), place(waits.wait), in_words(waits.wanted)));
      }
      return;
    }
    Finding finding;
    for (size_t i : rest) {
      if (finding.hops.size() < 8) finding.hops.push_back(hop(i, nullptr));
    }
    finish(&finding, level, now_ns, rest);
    finding.title = fmt::format("all {} threads of the process wait, and nobody is left to wake one", rest.size());
    finding.narrative = fmt::format("What each waits for only this process can bring about, and every thread of it waits. {}", waited(rest, now_ns));
    findings->push_back(std::move(finding));
  }

  std::string waited(const std::vector<size_t>& who, uint64_t now_ns) const {
    uint64_t since = 0;
    for (size_t i : who) since = std::max(since, threads_[i].since_ns);
    return fmt::format("It has been so for {:.1f} s.", static_cast<double>(now_ns - since) / 1e9);
  }

  void finish(Finding* finding, Level level, uint64_t now_ns, const std::vector<size_t>& who) {
    finding->problem = dept::Problem::kStuck;
    finding->level = level;
    finding->pid = pid_;
    finding->program = recording_.story.program();
    tell_apart(finding);
    finding->kind = kind_of(*finding);
    finding->title = title_of(*finding);
    finding->narrative = narrative_of(*finding) + " " + waited(who, now_ns);
    if (level == Level::kLikely) finding->refutations.push_back("other threads sleep, and could do what is waited for when they wake");
    if (level == Level::kPossible)
      finding->refutations.push_back(whole_process_ ? "the program has signal handlers, and one of them could end a wait"
                                                    : "other threads run, and could do what is waited for");
    std::vector<std::string> places;
    for (const Hop& hop : finding->hops) places.push_back(fmt::format("{} {}", name_of(hop.wanted.kind), place(hop.wait)));
    std::sort(places.begin(), places.end());
    std::string all = "stuck";
    for (const std::string& where : places) all += "|" + where;
    finding->id = hash_of(all);
  }

  Recording& recording_;
  const dept::Arena& arena_;
  int pid_;
  std::vector<ThreadNow> threads_;
  std::map<ThreadId, size_t> by_id_;
  std::set<size_t> hung_;
  bool all_quiet_ = false;      // no task of the process has run for the whole time
  bool whole_process_ = false;  // and each waits without a limit for what only the process can bring about
};

}  // namespace

std::vector<Finding> Watchdog::look(uint64_t now_ns) {
  std::vector<Finding> all;
  if (hang_ns_ == 0) return all;
  for (const auto& recording : recordings_.all()) {
    const dept::ArenaHeader& header = recording->arena.header();
    if (header.ended_ns.load(std::memory_order_relaxed) != 0 || !is_alive(header.pid)) continue;
    Scene scene(*recording, quiet_, tasks_(header.pid), now_ns, hang_ns_);
    if (scene.nobody_hangs() || !seen_.insert(scene.key(scene.hung())).second) continue;
    for (Finding& finding : scene.stuck(now_ns)) {
      const auto same = [&](const Told& told) { return told.recording == recording.get() && told.id == finding.id; };
      if (std::any_of(told_.begin(), told_.end(), same)) continue;
      Told told{recording.get(), finding.id, finding.level == Level::kCertain, {}};
      for (const Hop& hop : finding.hops) told.waits.emplace_back(dept::ThreadId(hop.thread.id), scene.sequence_of(dept::ThreadId(hop.thread.id)));
      told_.push_back(std::move(told));
      all.push_back(std::move(finding));
    }
  }
  return all;
}

std::vector<std::string> Watchdog::taken_back() {
  std::vector<std::string> ids;
  std::erase_if(told_, [&](const Told& told) {
    const std::vector<ThreadNow> threads = snapshot(told.recording->arena);
    const bool is_still_so = std::all_of(told.waits.begin(), told.waits.end(), [&](const auto& wait) {
      return std::any_of(threads.begin(), threads.end(), [&](const ThreadNow& thread) {
        return thread.thread == wait.first && thread.waits && thread.sequence == wait.second;
      });
    });
    // Threads that wait for work are left behind by many a program that ends; a circle stays one.
    const bool has_ended = told.recording->arena.header().ended_ns.load(std::memory_order_relaxed) != 0;
    if (is_still_so && (told.is_certain || !has_ended)) return false;
    ids.push_back(told.id);
    return true;
  });
  return ids;
}

std::string Watchdog::picture(uint64_t now_ns) {
  std::string out;
  for (const auto& recording : recordings_.all()) {
    if (recording->arena.header().ended_ns.load(std::memory_order_relaxed) != 0) continue;
    Story& story = recording->story;
    out += fmt::format("process {} {}: what its threads do\n", recording->arena.header().pid, story.program());
    std::vector<ThreadNow> threads = snapshot(recording->arena);
    const Tasks tasks = tasks_(recording->arena.header().pid);
    for (const ThreadNow& thread : threads) {
      const auto task = tasks.find(thread.tid);
      const uint64_t since_ns =
          compare(quiet_, *recording, thread.tid, task == tasks.end() ? Task{} : task->second, &thread, now_ns).waits_since_ns;
      const Actor actor = story.actor(thread.thread);
      if (thread.waits) {
        const Trace wait = where_it_waits(story, thread);
        const uint64_t waited = now_ns > since_ns ? now_ns - since_ns : 0;
        out += fmt::format("  {} (tid {})\n    waits for {:<40} {}, for {:.1f} s{}\n", in_words(actor), thread.tid,
                           in_words(story.thing(thread.object, thread.cls, thread.event)), place_in_words(wait),
                           static_cast<double>(waited) / 1e9, thread.timed ? ", with a time limit" : "");
      } else {
        out += fmt::format("  {} (tid {})\n    runs\n", in_words(actor), thread.tid);
      }
      for (const HeldNow& held : thread.held) {
        Trace start = story.trace(held.stack);
        if (start.empty()) start = story.trace_of(held.site);
        out += fmt::format("    holds     {:<40} {}\n", in_words(story.thing(held.object, held.cls, held.event)), place_in_words(start));
      }
    }
  }
  return out;
}

}  // namespace causeway::findings
