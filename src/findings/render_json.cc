#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "findings/render.h"
#include "findings/words.h"

namespace causeway::findings {
namespace {

using nlohmann::json;

json to_json(const Trace& trace) {
  json lines = json::array();
  for (const CodeLine& line : trace)
    lines.push_back({{"function", line.function}, {"file", line.file}, {"line", line.line}, {"module", line.module},
                     {"build_id", line.build_id}, {"offset", line.offset}, {"inlined", line.inlined}, {"wrapper", line.folded}});
  return lines;
}

json to_json(const Actor& actor) {
  return {{"id", actor.id}, {"name", actor.name}, {"tid", actor.tid}, {"start_function", actor.starts_in}, {"run", actor.run}};
}

const char* name_of(dept::Event event) { return event == dept::Event::kRead ? "read" : event == dept::Event::kWrite ? "write" : "third"; }

json to_json(const Thing& thing) {
  return {{"kind", findings::name_of(thing.kind)}, {"name", thing.name}, {"name_is_place", thing.name_is_place}, {"class", thing.class_name},
          {"address", fmt::format("{:#x}", thing.address)}, {"object", thing.object}, {"event", name_of(thing.event)},
          {"text", in_words(thing)}};
}

json to_json(const std::vector<Thing>& things) {
  json list = json::array();
  for (const Thing& thing : things) list.push_back(to_json(thing));
  return list;
}

json pairs(const std::vector<std::pair<std::string, uint64_t>>& list) {
  json object = json::object();
  for (const auto& [name, count] : list) object[name] = count;
  return object;
}

const char* name_of(dept::Problem problem) {
  switch (problem) {
    case dept::Problem::kCycle: return "cycle";
    case dept::Problem::kRelock: return "relock";
    case dept::Problem::kOrphan: return "orphan";
    case dept::Problem::kMisuse: return "misuse";
    case dept::Problem::kStuck: return "stuck";
  }
  return "unknown";
}

json hop_to_json(const Hop& hop) {
  return {{"thread", to_json(hop.thread)}, {"owed", to_json(hop.owed)}, {"wanted", to_json(hop.wanted)}, {"holds", hop.holds},
          {"same_object", hop.same_object}, {"timed", hop.timed}, {"predicted", hop.predicted}, {"tentative", hop.tentative},
          {"inferred", hop.inferred}, {"spins", hop.spins}, {"interrupted_by", hop.interrupted_by}, {"start", to_json(hop.start)},
          {"wait", to_json(hop.wait)}, {"event", to_json(hop.event)}, {"guards", to_json(hop.guards)}, {"count", hop.count},
          {"first_seen_ns", hop.first_seen_ns}, {"last_seen_ns", hop.last_seen_ns}};
}

// SARIF's three levels.
const char* sarif_level(Level level) { return level >= Level::kLikely ? "error" : level == Level::kPossible ? "warning" : "note"; }

json sarif_location(const Trace& trace, const std::string& message) {
  const CodeLine* line = first_shown(trace);
  if (line == nullptr || line->file.empty()) return nullptr;
  json place{{"artifactLocation", {{"uri", line->file}}}};
  if (line->line > 0) place["region"] = {{"startLine", line->line}};
  return {{"physicalLocation", place}, {"message", {{"text", message}}}};
}

}  // namespace

json to_json(const Finding& finding) {
  json hops = json::array();
  for (const Hop& hop : finding.hops) hops.push_back(hop_to_json(hop));
  json out{{"id", finding.id}, {"level", name_of(finding.level)}, {"kind", finding.kind}, {"problem", name_of(finding.problem)},
           {"program", finding.program}, {"pid", finding.pid}, {"raised", finding.raised}, {"title", finding.title},
           {"narrative", finding.narrative}, {"hops", hops}, {"refutations", finding.refutations},
           {"suggestions", finding.suggestions}};
  if (finding.problem != dept::Problem::kCycle) {
    out["thread"] = to_json(finding.thread);
    out["object"] = to_json(finding.object);
    out["stack"] = to_json(finding.stack);
    out["other_stack"] = to_json(finding.other_stack);
    out["behind"] = finding.behind;
    if (finding.problem == dept::Problem::kMisuse) out["misuse"] = word_of(finding.misuse);
  }
  return out;
}

json to_json(const Outcome& outcome) {
  json findings = json::array(), processes = json::array();
  json levels{{"certain", 0}, {"likely", 0}, {"possible", 0}, {"info", 0}};
  for (const Finding& finding : outcome.findings) {
    findings.push_back(to_json(finding));
    levels[name_of(finding.level)] = levels[name_of(finding.level)].get<uint64_t>() + 1;
  }
  for (const Outcome::Process& process : outcome.processes)
    processes.push_back({{"pid", process.pid}, {"program", process.program}, {"classes", process.classes}, {"objects", process.objects},
                         {"edges", process.edges}, {"witnesses", process.witnesses}, {"threads", process.threads},
                         {"stacks", process.stacks}, {"memory_bytes", process.memory}, {"counters", pairs(process.counters)},
                         {"dropped", pairs(process.dropped)}, {"stopped", process.stopped}});
  return {{"schema", "causeway-dept-1"}, {"program", outcome.program}, {"ended_by", outcome.ended_by}, {"levels", levels}, {"findings", findings},
          {"suppressed", outcome.suppressed}, {"known", outcome.known}, {"processes", processes},
          {"not_observed", outcome.not_observed}, {"unused_suppressions", outcome.unused_suppressions}};
}

json to_sarif(const Outcome& outcome) {
  json results = json::array(), rules = json::array();
  for (const char* kind : {"lock", "comm", "mixed", "self", "fork", "signal", "shutdown", "stuck", "misuse"})
    rules.push_back({{"id", std::string("dept.") + kind}});
  for (const Finding& finding : outcome.findings) {
    json related = json::array(), locations = json::array();
    for (const Hop& hop : finding.hops) {
      const std::string who = in_words(hop.thread);
      for (const auto& [trace, text] : {std::pair(&hop.wait, fmt::format("{} waits for {}", who, in_words(hop.wanted))),
                                        std::pair(&hop.start, fmt::format("{} {}", who, how_taken(hop.owed))),
                                        std::pair(&hop.event, fmt::format("{} {}", who, done(hop.owed)))})
        if (json location = sarif_location(*trace, text); !location.is_null()) {
          if (locations.empty()) locations.push_back(location);
          related.push_back(location);
        }
    }
    if (json location = sarif_location(finding.stack, finding.stack_is); locations.empty() && !location.is_null())
      locations.push_back(location);
    results.push_back({{"ruleId", "dept." + finding.kind}, {"level", sarif_level(finding.level)},
                       {"message", {{"text", fmt::format("{}: {}. {}", name_of(finding.level), finding.title, finding.narrative)}}},
                       {"locations", locations}, {"relatedLocations", related},
                       {"partialFingerprints", {{"causeway/v1", finding.id}}}});
  }
  return {{"version", "2.1.0"},
          {"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
          {"runs", {{{"tool", {{"driver", {{"name", "causeway dept"}, {"rules", rules}}}}}, {"results", results}}}}};
}

}  // namespace causeway::findings
