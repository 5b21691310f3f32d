// The `causeway` program: start, watch and live-update a stack on its machine.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "cli/verb.h"

int main(int argc, char** argv) {
  using namespace causeway::cli;
  CLI::App app("The Linux device-memory stack in userspace, with live update.", "causeway");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("causeway ") + CW_CLI_VERSION);
  app.footer("Example: causeway demo --updates 5\nHelp on a verb: causeway VERB --help");
  std::vector<Verb> verbs{add_demo(app), add_up(app), add_down(app), add_status(app), add_kexec(app), add_inspect(app),
                          add_dump(app), add_run(app), add_dept(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    std::string verb;
    for (const CLI::App* used : app.get_subcommands()) verb = " " + used->get_name();
    fmt::print(stderr, "causeway{0}: {1}; see causeway{0} --help\n", verb, error.what());
    return kUsage;
  }
  for (const Verb& verb : verbs) {
    if (verb.command->parsed()) return verb.run();
  }
  return kUsage;
}
