// The database as text: one JSON document of arrays of numbers, each number within what it counts.
#include <nlohmann/json.hpp>

#include "findings/database.h"

namespace causeway::findings {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "causeway dept database";
constexpr int kVersion = 1;

json to_json(const Past::Place& place) { return {place.module, place.offset, place.text}; }
json to_json(const Past::Clock& clock) {
  json all = json::array();
  for (const auto& [role, epoch] : clock) all.push_back({role, epoch});
  return all;
}
json to_json(const Past::Fact& f) {
  return {f.from,  f.to,    f.role,  f.from_object, f.to_object, f.start,  f.wait,   f.event, f.flags,
          f.epoch, static_cast<unsigned>(f.from_event), static_cast<unsigned>(f.to_event), f.irq, f.time_ns, f.guards, to_json(f.clock)};
}

json to_json(const Past& past) {
  json all;
  all["path"] = past.path;
  // Tables that grow by number: what is in them is named by its place.
  for (const char* name : {"modules", "stacks", "threads", "objects", "classes", "runs"}) all[name] = json::array();
  for (uint32_t i = 1; i < past.modules.size(); ++i) all["modules"].push_back({past.modules[i].path, past.modules[i].build_id});
  for (uint32_t i = 1; i < past.stacks.size(); ++i) {
    json stack = json::array();
    for (const Past::Place& place : past.stacks[i]) stack.push_back(to_json(place));
    all["stacks"].push_back(std::move(stack));
  }
  for (uint32_t i = 1; i < past.roles.size(); ++i) {
    const Past::Role& role = past.roles[i];
    all["threads"].push_back({past.thread_names[i], to_json(role.start), role.created, role.ordinal, role.level});
  }
  for (uint32_t i = 1; i < past.classes.size(); ++i) {
    const Past::Class& c = past.classes[i];
    all["classes"].push_back({past.class_names[i].key, past.class_names[i].sub, static_cast<unsigned>(c.kind), c.flags, c.site, c.name});
  }
  for (uint32_t i = 1; i < past.objects.size(); ++i) {
    const Past::ObjectName& name = past.object_names[i];
    const Past::Object& o = past.objects[i];
    all["objects"].push_back({name.key, to_json(name.place), name.role, name.run, name.number, static_cast<unsigned>(o.kind), o.sub,
                              o.class_flags, o.flags, o.birth, o.value, o.address, o.name, o.classes});
  }
  for (const Past::Run& run : past.runs) {
    json threads = json::array(), facts = json::array(), seen = json::array();
    for (const auto& [role, lived] : run.threads)
      threads.push_back({role, lived.creator, lived.started_ns, lived.ended_ns, lived.has_birth, to_json(lived.birth)});
    for (const Past::Fact& fact : run.facts) facts.push_back(to_json(fact));
    for (const auto& [from, to, group] : run.seen) seen.push_back({from, to, group});
    all["runs"].push_back({{"threads", threads}, {"facts", facts}, {"seen", seen}});
  }
  return all;
}

// Thrown at what cannot be, and caught in this file.
struct Damaged {};
void want(bool condition) {
  if (!condition) throw Damaged();
}

uint64_t number(const json& value, uint64_t below) {
  want(value.is_number_unsigned());
  const auto given = value.get<uint64_t>();
  want(given < below);
  return given;
}
uint64_t any64(const json& value) {
  want(value.is_number_unsigned());
  return value.get<uint64_t>();
}
uint32_t any32(const json& value) { return static_cast<uint32_t>(number(value, uint64_t{1} << 32)); }
uint32_t index(const json& value, size_t below) { return static_cast<uint32_t>(number(value, below)); }
std::string text(const json& value) {
  want(value.is_string());
  return value.get<std::string>();
}
const json& list(const json& value, size_t most = SIZE_MAX) {
  want(value.is_array() && value.size() <= most);
  return value;
}
const json& tuple(const json& value, size_t size) {
  want(value.is_array() && value.size() == size);
  return value;
}

Past::Place place(const json& value, const Past& past) {
  tuple(value, 3);
  return {index(value[0], past.modules.size()), any64(value[1]), text(value[2])};
}

Past::Clock clock(const json& value, const Past& past) {
  Past::Clock clock;
  for (const json& entry : list(value, 1023)) {
    tuple(entry, 2);
    clock.emplace_back(index(entry[0], past.roles.size()), any32(entry[1]));
    want(clock.size() < 2 || clock[clock.size() - 2].first < clock.back().first);
  }
  return clock;
}

Past::Fact fact(const json& value, const Past& past) {
  tuple(value, 16);
  Past::Fact f;
  uint32_t* classes[] = {&f.from, &f.to};
  for (unsigned i = 0; i < 2; ++i) {
    *classes[i] = index(value[i], past.classes.size());
    want(*classes[i] != 0);
  }
  f.role = index(value[2], past.roles.size());
  want(f.role != 0);
  f.from_object = index(value[3], past.objects.size());
  f.to_object = index(value[4], past.objects.size());
  f.start = index(value[5], past.stacks.size());
  f.wait = index(value[6], past.stacks.size());
  f.event = index(value[7], past.stacks.size());
  f.flags = any32(value[8]);
  f.epoch = any32(value[9]);
  f.from_event = static_cast<dept::Event>(number(value[10], dept::kEvents));
  f.to_event = static_cast<dept::Event>(number(value[11], dept::kEvents));
  f.irq = static_cast<uint8_t>(number(value[12], 256));
  f.time_ns = any64(value[13]);
  for (const json& guard : list(value[14], dept::kGuards)) f.guards.push_back(index(guard, past.objects.size()));
  f.clock = clock(value[15], past);
  return f;
}

constexpr uint64_t kKinds = static_cast<uint64_t>(dept::Kind::kExit) + 1;

void parse_tables(const json& value, Past* past) {
  past->path = text(value.at("path"));
  for (const json& module : list(value.at("modules"), 1u << 12)) {
    tuple(module, 2);
    want(past->modules.add({text(module[0]), text(module[1])}) + 1 == past->modules.size());
  }
  for (const json& stack : list(value.at("stacks"))) {
    Past::Stack places;
    for (const json& each : list(stack, dept::kStackDepth)) places.push_back(place(each, *past));
    const uint32_t before = past->stacks.size();
    want(past->stacks.add(places) == before);
  }
  for (const json& thread : list(value.at("threads"))) {
    tuple(thread, 5);
    const uint32_t before = past->roles.size();
    want(past->roles.add({place(thread[1], *past), index(thread[2], past->stacks.size()), any32(thread[3]), any32(thread[4])}) == before);
    past->thread_names.push_back(text(thread[0]).substr(0, 15));
  }
  for (const json& c : list(value.at("classes"))) {
    tuple(c, 6);
    const uint32_t before = past->class_names.size();
    want(past->class_names.add({any64(c[0]), static_cast<uint8_t>(number(c[1], 256))}) == before);
    past->classes.push_back({static_cast<dept::Kind>(number(c[2], kKinds)), any32(c[3]), index(c[4], past->stacks.size()), text(c[5])});
  }
  const size_t runs = list(value.at("runs"), Past::kMostRuns).size();
  for (const json& o : list(value.at("objects"))) {
    tuple(o, 14);
    const uint32_t before = past->object_names.size();
    want(past->object_names.add({any64(o[0]), place(o[1], *past), index(o[2], past->roles.size()), index(o[3], runs + 1), any32(o[4])}) == before);
    Past::Object& object = past->objects.emplace_back();
    object.kind = static_cast<dept::Kind>(number(o[5], kKinds));
    object.sub = static_cast<uint8_t>(number(o[6], 256));
    object.class_flags = static_cast<uint16_t>(number(o[7], 1u << 16));
    object.flags = any32(o[8]);
    object.birth = index(o[9], past->stacks.size());
    object.value = any32(o[10]);
    object.address = any64(o[11]);
    object.name = text(o[12]);
    tuple(o[13], dept::kEvents);
    for (unsigned i = 0; i < dept::kEvents; ++i) object.classes[i] = index(o[13][i], past->classes.size());
  }
}

Past parse_past(const json& value) {
  Past past;
  parse_tables(value, &past);
  for (const json& one : value.at("runs")) {
    Past::Run run;
    for (const json& thread : list(one.at("threads"))) {
      tuple(thread, 6);
      Past::Lived lived;
      lived.creator = index(thread[1], past.roles.size());
      lived.started_ns = any64(thread[2]);
      lived.ended_ns = any64(thread[3]);
      want(thread[4].is_boolean());
      lived.has_birth = thread[4].get<bool>();
      lived.birth = clock(thread[5], past);
      run.threads[index(thread[0], past.roles.size())] = std::move(lived);
    }
    for (const json& each : list(one.at("facts"))) {
      run.facts.push_back(fact(each, past));
      past.shapes.insert(past.shape_of(run.facts.back()));
    }
    for (const json& each : list(one.at("seen"))) {
      tuple(each, 3);
      run.seen.insert({index(each[0], past.classes.size()), index(each[1], past.classes.size()), index(each[2], past.roles.size())});
    }
    past.runs.push_back(std::move(run));
  }
  return past;
}

}  // namespace

std::string write_pasts(const Pasts& pasts) {
  json programs = json::object();
  for (const auto& [program, past] : pasts)
    if (!past.runs.empty()) programs[program] = to_json(past);
  const json all = {{"format", kFormat}, {"version", kVersion}, {"programs", std::move(programs)}};
  return all.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<Pasts> parse_pasts(const std::string& text) {
  const json all = json::parse(text, nullptr, false);
  try {
    if (all.is_discarded() || !all.is_object() || all.value("format", "") != kFormat)
      return fail(EINVAL, "this is no database of causeway dept: name another file");
    if (all.at("version") != kVersion) return fail(ENOTSUP, "it is of another version of causeway: remove it, and begin anew");
    Pasts pasts;
    for (const auto& [program, past] : all.at("programs").items()) pasts.emplace(program, parse_past(past));
    return pasts;
  } catch (const Damaged&) {
    return fail(EINVAL, "this database of causeway dept is damaged: remove it, and begin anew");
  } catch (const json::exception&) {
    return fail(EINVAL, "this database of causeway dept is damaged: remove it, and begin anew");
  }
}

}  // namespace causeway::findings
