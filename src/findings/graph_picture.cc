#include "findings/graph_picture.h"

#include <fmt/format.h>

#include <map>

#include "findings/render.h"

namespace causeway::findings {
namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

std::string dot(const Finding& finding) {
  std::string out = fmt::format("digraph {} {{\n  label={};\n  node [shape=box];\n", quoted("finding " + finding.id),
                                quoted(fmt::format("{}: {}", name_of(finding.level), finding.title)));
  for (size_t i = 0; i < finding.hops.size(); ++i) out += fmt::format("  n{} [label={}];\n", i, quoted(in_words(finding.hops[i].owed)));
  for (size_t i = 0; i < finding.hops.size(); ++i) {
    const Hop& hop = finding.hops[i];
    out += fmt::format("  n{} -> n{} [label={}{}];\n", i, (i + 1) % finding.hops.size(),
                       quoted(fmt::format("{} waits at {}", in_words(hop.thread), place(hop.wait))),
                       hop.same_object ? "" : ", style=dashed");
  }
  return out + "}\n";
}

std::string graph_picture(const Recordings& recordings) {
  using dept::ClassId;
  using dept::index_of;
  std::string out = "digraph dept {\n  node [shape=box];\n";
  for (const auto& recording : recordings.all()) {
    const dept::Arena& arena = recording->arena;
    // Of a class that is no wait's own, an object has the better name.
    std::map<uint32_t, dept::ObjectId> objects;
    for (uint32_t i = 1, used = arena.used<dept::Object>(); i < used; ++i)
      for (const auto& cls : arena.at<dept::Object>(dept::ObjectId(i)).classes) objects.try_emplace(cls.load(std::memory_order_relaxed), dept::ObjectId(i));
    const int pid = arena.header().pid;
    out += fmt::format("  subgraph cluster_{} {{\n    label={};\n", pid, quoted(fmt::format("process {} {}", pid, recording->story.program())));
    std::map<uint32_t, bool> named;
    auto name = [&](ClassId cls) {
      if (!named.try_emplace(index_of(cls), true).second) return;
      auto object = objects.find(index_of(cls));
      const auto event = static_cast<dept::Event>(arena.at<dept::Class>(cls).sub / dept::kUserSubclasses % dept::kEvents);
      const Thing thing = recording->story.thing(object == objects.end() ? dept::ObjectId::kNone : object->second, cls, event);
      out += fmt::format("    c{}_{} [label={}];\n", pid, index_of(cls), quoted(in_words(thing)));
    };
    for (uint32_t i = 1, used = arena.used<dept::Edge>(); i < used; ++i) {
      const dept::Edge& edge = arena.at<dept::Edge>(dept::EdgeId(i));
      const uint32_t flags = edge.flags.load(std::memory_order_relaxed);
      if (edge.from == ClassId::kNone || edge.to == ClassId::kNone) continue;
      name(edge.from);
      name(edge.to);
      out += fmt::format("    c{0}_{1} -> c{0}_{2} [label={3}{4}{5}];\n", pid, index_of(edge.from), index_of(edge.to),
                         edge.count.load(std::memory_order_relaxed), (flags & dept::Edge::kInCycle) != 0 ? ", color=red" : "",
                         (flags & dept::Edge::kVoid) != 0 ? ", style=dotted" : "");
    }
    out += "  }\n";
  }
  return out + "}\n";
}

}  // namespace causeway::findings
