// The circle of a finding as a picture: threads as rows of boxes on a circle's edge would be pretty, and unreadable from four on;
// so it is drawn as a person would on paper: events in a ring, an arrow for each thread.
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "findings/render.h"
#include "findings/words.h"

namespace causeway::findings {
namespace {

std::string xml(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

struct Point {
  double x, y;
};

constexpr double kBoxWidth = 270, kBoxHeight = 44;

// From the centre of a box towards `to`, where its edge is.
Point leave_box(Point from, Point to) {
  const double dx = to.x - from.x, dy = to.y - from.y;
  const double scale = std::min(std::abs(dx) < 1e-6 ? 1e9 : kBoxWidth / 2 / std::abs(dx), std::abs(dy) < 1e-6 ? 1e9 : kBoxHeight / 2 / std::abs(dy));
  return {from.x + dx * std::min(scale, 1.0), from.y + dy * std::min(scale, 1.0)};
}

std::string shortened(const std::string& text, size_t max) {
  return text.size() <= max ? text : text.substr(0, max - 3) + "...";
}

}  // namespace

std::string svg(const Finding& finding) {
  const size_t count = finding.hops.size();
  const double radius = count <= 2 ? 130 : std::max(150.0, kBoxWidth * 0.42 * static_cast<double>(count) / 2);
  const double width = std::max(940.0, 2 * radius + kBoxWidth + 420), height = 2 * radius + 190;
  const Point centre{width / 2, height / 2 + 30};
  std::vector<Point> at(count);
  for (size_t i = 0; i < count; ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(count) - std::numbers::pi / 2;
    at[i] = {centre.x + radius * std::cos(angle), centre.y + radius * std::sin(angle)};
  }
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"13\">\n"
      "<defs><marker id=\"a\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">"
      "<path d=\"M0,0L10,5L0,10z\" fill=\"#a33\"/></marker></defs>\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
      "<text x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{2}</text>\n",
      width, height, xml(shortened(fmt::format("{}: {}", name_of(finding.level), finding.title), 110)));
  for (size_t i = 0; i < count; ++i) {
    const Hop& hop = finding.hops[i];
    const size_t next = (i + 1) % count;
    if (count == 1) {
      out += fmt::format("<path d=\"M{:.0f},{:.0f} c120,-90 120,90 0,30\" fill=\"none\" stroke=\"#a33\" stroke-width=\"2\" marker-end=\"url(#a)\"/>\n",
                         at[i].x + kBoxWidth / 2, at[i].y - 10);
    }
    // Bent outwards, so that the two arrows between two boxes do not lie on each other.
    const Point from = leave_box(at[i], at[next]), to = leave_box(at[next], at[i]);
    Point middle{(from.x + to.x) / 2, (from.y + to.y) / 2};
    const double dx = to.x - from.x, dy = to.y - from.y, length = std::max(1.0, std::hypot(dx, dy));
    middle.x += dy / length * (count <= 2 ? 70 : 30);
    middle.y -= dx / length * (count <= 2 ? 70 : 30);
    if (count > 1)
      out += fmt::format("<path d=\"M{:.0f},{:.0f} Q{:.0f},{:.0f} {:.0f},{:.0f}\" fill=\"none\" stroke=\"#a33\" stroke-width=\"2\"{} "
                         "marker-end=\"url(#a)\"/>\n",
                         from.x, from.y, middle.x, middle.y, to.x, to.y, hop.same_object ? "" : " stroke-dasharray=\"6 4\"");
    const char* anchor = count == 1 || middle.x > centre.x + 5 ? "start" : middle.x < centre.x - 5 ? "end" : "middle";
    const double x = count == 1 ? at[i].x + kBoxWidth / 2 + 100 : middle.x;
    const double y = count == 1 ? at[i].y : middle.y;
    out += fmt::format("<text x=\"{0:.0f}\" y=\"{1:.0f}\" text-anchor=\"{2}\"><tspan font-weight=\"bold\">{3}</tspan>"
                       "<tspan x=\"{0:.0f}\" dy=\"16\">waits at {4}</tspan></text>\n",
                       x, y, anchor, xml(in_words(hop.thread)), xml(place(hop.wait)));
  }
  for (size_t i = 0; i < count; ++i) {
    const Hop& hop = finding.hops[i];
    const Trace& where = hop.holds ? hop.start : hop.event;
    out += fmt::format("<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"6\" fill=\"#eef3fa\" stroke=\"#446\"/>\n",
                       at[i].x - kBoxWidth / 2, at[i].y - kBoxHeight / 2, kBoxWidth, kBoxHeight);
    out += fmt::format("<text x=\"{0:.0f}\" y=\"{1:.0f}\" text-anchor=\"middle\">{2}<tspan x=\"{0:.0f}\" dy=\"16\" fill=\"#555\">{3}</tspan></text>\n",
                       at[i].x, at[i].y - 3, xml(shortened(in_words(hop.owed), 40)),
                       xml(where.empty() ? "" : shortened(fmt::format("{} at {}", hop.holds ? "taken" : "made to happen", place(where)), 44)));
  }
  return out + "</svg>\n";
}

std::string html(const Outcome& outcome, Level shown) {
  std::string out = fmt::format(
      "<!doctype html>\n<meta charset=\"utf-8\">\n<title>causeway dept: {0}</title>\n"
      "<style>body{{font-family:sans-serif;max-width:1100px;margin:2em auto}}pre{{background:#f6f6f6;padding:1em;overflow:auto}}</style>\n"
      "<h1>{0}</h1>\n",
      xml(outcome.program));
  for (const Finding& finding : outcome.findings) {
    if (finding.level < shown) continue;
    out += fmt::format("<h2 id=\"{}\">{}: {}</h2>\n<p>{}</p>\n", xml(finding.id), name_of(finding.level), xml(finding.title), xml(finding.narrative));
    if (!finding.hops.empty()) out += svg(finding);
    out += fmt::format("<pre>{}</pre>\n", xml(render_text(finding, {})));
  }
  return out + fmt::format("<pre>{}</pre>\n", xml(render_summary(outcome, shown, true)));
}

}  // namespace causeway::findings
