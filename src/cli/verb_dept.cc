#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "cli/absent_pages.h"
#include "cli/brief.h"
#include "cli/child.h"
#include "cli/client_program.h"
#include "cli/dept_teller.h"
#include "cli/preload.h"
#include "cli/programs.h"
#include "cli/recording_directory.h"
#include "cli/verb.h"
#include "cli/watched_program.h"
#include "findings/database.h"
#include "findings/watchdog.h"

namespace causeway::cli {
namespace {

struct Settings {
  TellerSettings teller;
  std::string database, keep, read;
  bool timeouts = false, no_follow = false, no_predict = false, single_thread = false;
  std::string rwlock = "glibc";
  unsigned noise_us = 0;
  double hang_s = 5;
  std::vector<std::string> program;
};

constexpr int kCannotFind = 127;
constexpr int kNewsMs = 20;
constexpr unsigned kHangEvery = 5;  // looks

std::string library_options(const Settings& settings) {
  std::string options = fmt::format("rwlock={}", settings.rwlock);
  if (settings.timeouts) options += " timeouts=1";
  if (settings.no_follow) options += " follow=0";
  if (settings.no_predict) options += " predict=0";
  if (settings.single_thread) options += " single_thread=1";
  if (settings.teller.full_stacks) options += " full_stacks=1";
  if (settings.noise_us > 0) options += fmt::format(" noise_us={}", settings.noise_us);
  return options;
}

// Why the preloaded library will see nothing of it.
std::optional<std::string> why_not_seen(const ClientProgram& program) {
  const std::string& what = program.interpreted.empty() ? program.path : program.interpreted;
  switch (program.linking) {
    case Linking::kDynamic: break;
    case Linking::kStatic: return fmt::format("'{}' is linked statically, and nothing can be loaded into it: link it without -static", what);
    case Linking::kForeign: return fmt::format("'{}' is of another architecture or word size: only programs of this one are followed", what);
    case Linking::kSetuid:
      return fmt::format("'{}' is set-user-id, and the loader loads nothing of ours into it: use a copy without that bit", what);
  }
  if (program.makes_own_system_calls) return fmt::format("'{}' is a Go program: its locks are its own, and only those of its C libraries are seen", what);
  return std::nullopt;
}

// What is wrong with a number that was given; "": nothing.
std::string whole_number(const std::string& text) {
  return text.find_first_not_of("0123456789") == std::string::npos ? "" : fmt::format("'{}': want a whole number", text);
}
std::string seconds(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return *end == '\0' && value >= 0 && value < 1e9 ? "" : fmt::format("'{}': want seconds, or 0", text);
}

// Also what several runs show together. False: the file is as it was, and why has been said.
bool merge_into_database(const CLI::App& command, const Settings& settings, findings::Recordings& recordings, Teller& teller) {
  if (settings.database.empty()) return true;
  dept::Judge judge;
  judge.timeouts = settings.timeouts;
  judge.threads = !settings.single_thread;
  auto found = findings::Database(settings.database).merge(recordings.all(), recordings.symbols(), judge);
  if (found) {
    teller.tell_of_runs(std::move(*found));
    return true;
  }
  complain(command, false, fmt::format("{}: {}", settings.database, brief(found.error())));
  return false;
}

int read_back(const CLI::App& command, const Settings& settings, Teller& teller) {
  findings::Recordings recordings(settings.read);
  if (auto found = recordings.look(); !found)
    return complain(command, settings.teller.json, fmt::format("{}: {}", settings.read, brief(found.error())));
  teller.tell(recordings.news(teller.names_from()));
  const bool merged = merge_into_database(command, settings, recordings, teller);
  return teller.finish(recordings, settings.read, merged ? kOk : kFailed);
}

int run_watched(const CLI::App& command, const Settings& settings, Teller& teller) {
  std::string reason;
  auto failed = [&](int status) {
    complain(command, false, reason);
    return status;
  };
  auto program = ClientProgram::find(settings.program.front(), &reason);
  if (!program) return failed(program.error().code == Errno{ENOENT} ? kCannotFind : kCannotExecute);
  if (auto why = why_not_seen(*program)) {
    fmt::print(stderr, "causeway dept: {}\n", *why);
    teller.note_not_observed(*why);
  }
  if (!settings.database.empty()) {
    if (auto usable = findings::Database(settings.database).check(); !usable) {
      reason = fmt::format("{}: {}", settings.database, brief(usable.error()));
      return failed(kFailed);
    }
  }
  const RecordingDirectory directory(settings.keep);
  if (directory.path().empty()) {
    reason = directory.reason();
    return failed(kFailed);
  }
  if (!preload(kDeptLibrary, "", &reason)) return failed(kFailed);
  ::setenv("CAUSEWAY_DEPT_DIR", directory.path().c_str(), 1);
  ::setenv("CAUSEWAY_DEPT_OPTIONS", library_options(settings).c_str(), 1);

  auto started = WatchedProgram::start(program->path, settings.program);
  if (!started) {
    reason = brief(started.error());
    return failed(kFailed);
  }
  WatchedProgram running = std::move(*started);
  findings::Recordings recordings(directory.path());
  findings::Watchdog watchdog(recordings, static_cast<uint64_t>(settings.hang_s * 1e9));
  for (unsigned looks = 0;; ++looks) {
    const bool ended = running.wait(kNewsMs);
    // Nothing there is nothing found; what cannot be read today can be read the next time.
    (void)recordings.look();
    teller.tell(recordings.news(teller.names_from()));
    const bool asked = WatchedProgram::interrupted();
    if (!ended && looks % kHangEvery == 0) teller.tell(watchdog.look(monotonic_ns()));
    if (ended || looks % kHangEvery == 0) teller.take_back(watchdog.taken_back());
    if (asked) teller.print("\n" + watchdog.picture(monotonic_ns()));
    if (ended) break;
  }
  std::string words;
  for (const std::string& word : settings.program) words += (words.empty() ? "" : " ") + word;
  if (recordings.all().empty() && program->linking == Linking::kDynamic)
    teller.note_not_observed("the program left no recording: it did not load the library");
  if (const int signal = running.signal(); signal != 0) {
    teller.note_signal(fmt::format("SIG{} ({})", ::sigabbrev_np(signal), ::strsignal(signal)));
    if (signal == SIGBUS && RecordingDirectory::is_full(directory.path()))
      teller.note_not_observed(fmt::format("what it did last: '{}' is full, which ends programs that are recorded there; name another place "
                                           "with --keep", directory.path()));
  }
  int status = running.status();
  if (!merge_into_database(command, settings, recordings, teller) && status == kOk) status = kFailed;
  return teller.finish(recordings, words, status);
}

int run(const CLI::App& command, const Settings& settings) {
  Teller teller(settings.teller);
  std::string reason;
  read_absent_pages_as_zeros();
  if (!teller.prepare(&reason)) return complain(command, settings.teller.json, reason);
  return settings.read.empty() ? run_watched(command, settings, teller) : read_back(command, settings, teller);
}

}  // namespace

Verb add_dept(CLI::App& app) {
  auto settings = std::make_shared<Settings>();
  TellerSettings& teller = settings->teller;
  CLI::App* command = app.add_subcommand("dept", "find possible deadlocks of a program while it runs: locks, and everything else it waits for");
  command->add_flag("--json", teller.json, "one JSON object at the end instead of text; as that, to standard error");
  command->add_option("--json-file", teller.json_file, "and as JSON to this file")->type_name("FILE");
  command->add_option("--sarif", teller.sarif_file, "as SARIF, for what shows findings beside code")->type_name("FILE");
  command->add_option("--html", teller.html_file, "as a page with pictures")->type_name("FILE");
  command->add_option("--svg", teller.svg_file, "a picture of the gravest circle")->type_name("FILE");
  command->add_option("--dot", teller.dot_file, "the circles, for graphviz")->type_name("FILE");
  command->add_option("--graph", teller.graph_file, "all dependencies seen, for graphviz")->type_name("FILE");
  command->add_option("--suppress", teller.suppressions, "rules of what not to tell; may be given several times")
      ->type_name("FILE")->allow_extra_args(false)->check(CLI::ExistingFile);
  command->add_option("--baseline", teller.baseline, "findings that are known")->type_name("FILE")->check(CLI::ExistingFile);
  command->add_option("--write-baseline", teller.write_baseline, "write the findings shown as such a file")->type_name("FILE");
  command->add_option("--level", teller.level, "show findings from this level on: certain, likely, possible, info")
      ->type_name("LEVEL")->capture_default_str()
      ->check([](const std::string& text) {
        findings::Level level{};
        return findings::parse_level(text, &level) ? std::string() : fmt::format("'{}': want certain, likely, possible or info", text);
      });
  command->add_option("--max-reports", teller.max_reports, "print at most so many")->type_name("N")->capture_default_str()->check(whole_number);
  command->add_option("--exit-code", teller.exit_code, "exit status if findings are shown; default: the program's")
      ->type_name("N")->check(CLI::Range(0, 255));
  command->add_flag("--timeouts", settings->timeouts, "waits with a time limit count like others");
  command->add_option("--rwlock", settings->rwlock, "readers wait behind waiting writers: as glibc does, or always (strict)")
      ->type_name("KIND")->capture_default_str()->check(CLI::IsMember({"glibc", "strict"}));
  command->add_flag("--single-thread", settings->single_thread, "circles seen in one thread count like others");
  command->add_flag("--no-predict", settings->no_predict, "only waits that were really seen to wait");
  command->add_flag("--full-stacks", teller.full_stacks, "a stack at each acquisition, and wrappers shown");
  command->add_option("--noise", settings->noise_us, "sleep at random up to this before events: rare orders come sooner")
      ->type_name("US")->check(whole_number);
  command->add_option("--hang", settings->hang_s, "explain threads that wait for longer than this; 0: never")
      ->type_name("SECS")->capture_default_str()->check(seconds);
  command->add_flag("--no-follow", settings->no_follow, "leave programs that it starts alone");
  command->add_flag("--stats", teller.stats, "all numbers of every process at the end");
  command->add_flag("-q,--quiet", teller.quiet, "findings only, no summary");
  command->add_option("--db", settings->database, "merge this run into the file, and tell also what only several runs show together")
      ->type_name("FILE");
  CLI::Option* keep = command->add_option("--keep", settings->keep, "keep the recordings in this directory, a new one")->type_name("DIR");
  command->add_option("--read", settings->read, "tell what is in recordings that were kept, instead of running a program")
      ->type_name("DIR|FILE")->check(CLI::ExistingPath)->excludes(keep);
  command->add_option("program", settings->program, "the program and its arguments");
  command->footer(
      "The program keeps its standard streams; findings go to standard error. Its exit status is returned; 126: it cannot be run,\n"
      "127: there is none. Ctrl-C also prints what every thread holds and waits for.\n\n"
      "Example: causeway dept -- ./server --port 8080\n"
      "         causeway dept --exit-code 42 --suppress known.supp --json-file dept.json -- ./tests");
  return {command, [command, settings] {
            if (settings->program.empty() == settings->read.empty()) {
              fmt::print(stderr, "causeway dept: want {}; see causeway dept --help\n",
                         settings->read.empty() ? "a program after '--', or --read" : "either a program or --read, not both");
              return kUsage;
            }
            settings->teller.to_stdout = !settings->read.empty();
            return run(*command, *settings);
          }};
}

}  // namespace causeway::cli
