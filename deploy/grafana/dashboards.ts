// All dashboards, a file each. `make dashboards` writes them as Grafana's JSON. A test runs every query against a real Prometheus
// and a real run.

import { cluster } from "./cluster.ts";
import type { DashboardDefinition } from "./definition.ts";
import { ledger } from "./ledger.ts";
import { training } from "./training.ts";

export const dashboards: readonly DashboardDefinition[] = [training, cluster, ledger];

/** Every query of every panel, with where it is. */
export function allQueries(): { readonly place: string; readonly query: string; readonly conditional?: string }[] {
  return dashboards.flatMap(({ title, rows }) =>
    rows.flatMap(({ panels }) =>
      panels.flatMap((panel) =>
        Object.entries(panel.queries).map(([legend, query]) => ({
          place: `${title}: ${panel.title} (${legend})`,
          query,
          ...(panel.conditional === undefined ? {} : { conditional: panel.conditional }),
        })),
      ),
    ),
  );
}
