// The few kinds of panels that the dashboards are made of, with their looks decided once. The only file that imports
// Grafana's foundation SDK.

import {
  DashboardBuilder,
  DashboardCursorSync,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  type Dashboard,
} from "@grafana/grafana-foundation-sdk/dashboard";
import { DataqueryBuilder } from "@grafana/grafana-foundation-sdk/prometheus";
import { PanelBuilder as StatBuilder } from "@grafana/grafana-foundation-sdk/stat";
import { PanelBuilder as TimeSeriesBuilder } from "@grafana/grafana-foundation-sdk/timeseries";
import {
  BigValueColorMode,
  BigValueGraphMode,
  LegendDisplayMode,
  LegendPlacement,
  StackingMode,
} from "@grafana/grafana-foundation-sdk/common";
import * as common from "@grafana/grafana-foundation-sdk/common";
import type { DashboardDefinition, PanelDefinition } from "./definition.ts";

const datasource = { type: "prometheus", uid: "${datasource}" };

/** A whole dashboard, as Grafana's JSON model. The same input gives the same text. */
export function buildDashboard(options: DashboardDefinition): Dashboard {
  const builder = new DashboardBuilder(options.title)
    .uid(options.uid)
    .description(options.description)
    .tags(["ringtune"])
    .editable()
    .refresh("5s")
    .time({ from: "now-30m", to: "now" })
    .tooltip(DashboardCursorSync.Crosshair)
    .withVariable(new DatasourceVariableBuilder("datasource").label("Prometheus").type("prometheus"))
    .withVariable(
      new QueryVariableBuilder("run")
        .label("Run")
        .datasource(datasource)
        .query("label_values(ringtune_run_info, run)")
        .refresh(VariableRefresh.OnTimeRangeChanged),
    );
  for (const { title, panels } of options.rows) {
    builder.withRow(new RowBuilder(title));
    for (const panel of panels) builder.withPanel(panel.kind === "stat" ? stat(panel) : timeSeries(panel));
  }
  return builder.build();
}

function targets(panel: PanelDefinition): DataqueryBuilder[] {
  return Object.entries(panel.queries).map(([legend, expr], index) =>
    new DataqueryBuilder()
      .datasource(datasource)
      .expr(expr)
      .legendFormat(legend)
      .refId(String.fromCharCode(65 + index)),
  );
}

function stat(panel: PanelDefinition): StatBuilder {
  const builder = new StatBuilder()
    .title(panel.title)
    .description(panel.description)
    .datasource(datasource)
    .unit(panel.unit)
    .height(4)
    .span(panel.span ?? 4)
    .colorMode(BigValueColorMode.Value)
    .graphMode(BigValueGraphMode.None)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(["lastNotNull"]))
    .thresholds(steps(panel));
  targets(panel).forEach((target) => builder.withTarget(target));
  return builder;
}

function timeSeries(panel: PanelDefinition): TimeSeriesBuilder {
  const builder = new TimeSeriesBuilder()
    .title(panel.title)
    .description(panel.description)
    .datasource(datasource)
    .unit(panel.unit)
    .height(8)
    .span(panel.span ?? 8)
    .lineWidth(1)
    .fillOpacity(panel.stacked === true ? 30 : 5)
    .legend(
      new common.VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true)
        .calcs([]),
    );
  if (panel.logarithmic === true) {
    builder.scaleDistribution(new common.ScaleDistributionConfigBuilder().type(common.ScaleDistribution.Log).log(10));
  }
  if (panel.stacked === true) builder.stacking(new common.StackingConfigBuilder().mode(StackingMode.Normal));
  targets(panel).forEach((target) => builder.withTarget(target));
  return builder;
}

/** Green, and red from `redFrom` on. */
function steps({ redFrom }: PanelDefinition): ThresholdsConfigBuilder {
  const green = { value: null, color: "green" };
  const red = redFrom === undefined ? [] : [{ value: redFrom, color: "red" }];
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps([green, ...red]);
}
