/**
 * Profile features of the recommender: slow facts of a person, computed in batches and passed to the tips service.
 *
 * The service declares the same names, times to live and invalidating events; `tips contracts check` compares the two.
 */
import type { ReactionStore, ShownStore } from "./stores";

export interface ProfileFeature<Value = number> {
  readonly name: string;
  readonly dtype: "number" | "boolean";
  /** Seconds for which a computed value is fresh. */
  readonly ttlSec: number;
  readonly description: string;
  readonly compute: (context: FeatureContext) => Promise<Value | null>;
  /** Events after which the value has to be computed again. */
  readonly invalidatedBy: readonly Subject[];
}

export interface FeatureContext {
  readonly userId: string;
  readonly now: Date;
  readonly reactions: ReactionStore;
  readonly shown: ShownStore;
}

const SUBJECTS = {
  served: "signals.tip.served",
  feedback: "signals.tip.feedback",
} as const;

type Subject = (typeof SUBJECTS)[keyof typeof SUBJECTS];

const DAY = 24 * 60 * 60;
const WINDOW_DAYS = 30;

const ON_FEEDBACK = [SUBJECTS.feedback] as const;

/** Share of a person's reactions in the window that were of one kind; null before the first. */
const shareOf =
  (action: string) =>
  async ({ userId, reactions }: FeatureContext): Promise<number | null> => {
    const all = await reactions.of(userId, { days: WINDOW_DAYS });
    return all.length === 0 ? null : all.filter((one) => one.action === action).length / all.length;
  };

export const PROFILE_FEATURES = [
  {
    name: "completion_rate_30d",
    dtype: "number",
    ttlSec: DAY,
    description: `Share of the reactions that were "done", 0 to 1`,
    compute: shareOf("done"),
    invalidatedBy: ON_FEEDBACK,
  },
  {
    name: "dismiss_rate_30d",
    dtype: "number",
    ttlSec: DAY,
    description: 'Share of the reactions that were "dismiss", 0 to 1',
    compute: shareOf("dismiss"),
    invalidatedBy: [...ON_FEEDBACK],
  },
  {
    name: "mean_dwell_ms_30d",
    dtype: "number",
    ttlSec: 86_400,
    description: "Mean time spent on a tip before reacting, milliseconds",
    async compute({ userId, reactions }) {
      const dwells = (await reactions.of(userId, { days: WINDOW_DAYS }))
        .map((one) => one.dwellMs)
        .filter((ms): ms is number => ms !== null);
      return dwells.length === 0 ? null : dwells.reduce((sum, ms) => sum + ms, 0) / dwells.length;
    },
    invalidatedBy: [SUBJECTS.feedback],
  },
  {
    name: "preferred_hour",
    dtype: "number",
    // Habits change slowly.
    ttlSec: 7 * DAY,
    description: "Hour of day at which the person most often finishes tips, 0 to 24",
    compute: async ({ userId, reactions }) => reactions.usualHour(userId, { action: "done" }),
    invalidatedBy: [SUBJECTS.feedback],
  },
  {
    name: "tip_volume_30d",
    dtype: "number",
    ttlSec: DAY,
    description: "Tips shown in the window",
    compute: async ({ userId, shown }) => shown.count(userId, { days: WINDOW_DAYS }),
    invalidatedBy: [SUBJECTS.served],
  },
] as const satisfies readonly ProfileFeature[];

export type FeatureName = (typeof PROFILE_FEATURES)[number]["name"];

export const FEATURE_NAMES = PROFILE_FEATURES.map((feature) => feature.name);
