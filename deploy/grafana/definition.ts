// What a dashboard is made of: rows of panels, each a question with its queries; and what all queries have in common. How a
// panel looks is panels.ts.

export interface PanelDefinition {
  readonly kind: "stat" | "time";
  readonly title: string;
  readonly description: string;
  /** Of Grafana's, such as "s" or "Bps"; "" for a plain number. */
  readonly unit: string;
  /** Legend -> PromQL. */
  readonly queries: Readonly<Record<string, string>>;
  /** Of the 24 columns; a stat has 4, a series 8. */
  readonly span?: number;
  readonly stacked?: boolean;
  readonly logarithmic?: boolean;
  /** A stat is red from here on. */
  readonly redFrom?: number;
  /** When there is nothing to show, in a run without trouble. */
  readonly conditional?: string;
}

export interface RowDefinition {
  readonly title: string;
  readonly panels: readonly PanelDefinition[];
}

export interface DashboardDefinition {
  /** Also the file's name. */
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly rows: readonly RowDefinition[];
}

/** Selects the run of the dashboard: `run` is a label of one metric, and joins the others by their target. */
export const ofRun = (expression: string): string =>
  `(${expression}) and on (job, instance) ringtune_run_info{run="$run"}`;
