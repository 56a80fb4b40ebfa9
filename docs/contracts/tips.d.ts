// Bodies and events of the tips service. Written by `tips contracts export`: a change here is lost.
// Bounds and formats are in the JSON Schemas beside this file.

/** One tip that could be shown. `content` is never stored or logged. */
export interface Candidate {
  id: string;
  kind?: "task" | "advice" | "insight" | "reminder" | null;
  source?: string | null;
  content?: string | null;
  prompt_version?: string | null;
  model?: string | null;
  generation_id?: string | null;
  features?: { [name: string]: number | boolean };
}

/** Just-in-time context of a decision, the same for all its candidates. */
export interface ScoreContext {
  hour_of_day?: number | null;
  day_of_week?: number | null;
  timezone?: string | null;
  tasks?: unknown[] | null;
}

/** Candidates to choose from, for one person, now. */
export interface ScoreRequest {
  user_id: string;
  candidates: Candidate[];
  context?: ScoreContext;
  profile_features?: { [name: string]: number | boolean | null } | null;
  policy?: string | null;
  explain?: boolean;
  defer?: boolean;
}

/** Contributions add up to the chosen candidate's score. */
export interface Explanation {
  contributions: { [name: string]: number };
  sentence: string;
}

export interface RankedCandidate {
  id: string;
  score: number;
  propensity: number;
}

export interface ScoreResponse {
  tip_id: string;
  score: number;
  policy: string;
  decision_id: string;
  propensity: number;
  ranking: RankedCandidate[];
  explored: boolean;
  policy_version: string;
  schema_hash: string;
  degraded: boolean;
  logged: boolean;
  explanation?: Explanation | null;
}

/** How a person reacted to a tip, by `decision_id`, by `tip_id`, or by `tip_id` with its `features`. */
export type RewardRequest = {
  user_id: string;
  decision_id?: string | null;
  tip_id?: string | null;
  event_id?: string | null;
  action?: "done" | "dismiss" | "snooze" | "helpful" | "not_helpful" | null;
  dwell_ms?: number | null;
  reward?: number | null;
  occurred_at?: string | null;
  features?: { [name: string]: number | boolean | null } | null;
} & ({ decision_id: string } | { tip_id: string }) & ({ action: "done" | "dismiss" | "snooze" | "helpful" | "not_helpful" } | { reward: number });

/** `applied` says whether what is learned moved; `reason` why not. */
export interface RewardResponse {
  ok?: boolean;
  applied: boolean;
  reason?: string | null;
  reward: number;
}

/** A deferred decision was really shown, now. */
export interface ActivateRequest {
  user_id: string;
  decision_id: string;
}

/** `applied`: whether the reward wait began now; `reason` why not. */
export interface ActivateResponse {
  ok?: boolean;
  applied: boolean;
  reason?: string | null;
}

/** Counts of learned reactions of one person under one policy; never decayed. */
export interface StatsResponse {
  user_id: string;
  policy: string;
  policy_version: string;
  schema_hash: string;
  /** integer */
  pulls: number;
  /** integer */
  pulls_without_decision: number;
  cumulative_reward: number;
  estimated_mean: number;
  last_updated: string | null;
}

export interface ResetResponse {
  ok?: boolean;
  user_id: string;
  /** integer */
  epoch: number;
}

/** Everything kept of the person is gone. `erased`: items by kind; `remains`: what cannot be taken back at once. */
export interface EraseResponse {
  ok?: boolean;
  user_id: string;
  erased: { [name: string]: number };
  /** integer */
  erased_total: number;
  remains: string[];
}

/** One decision in short. `features` is the vector that the policy saw of the tip shown. */
export interface HistoryEntry {
  ts: string;
  decision_id: string;
  tip_id: string;
  policy: string;
  policy_version: string;
  schema_hash: string;
  features: { [name: string]: number };
  score: number;
  propensity: number;
  explored: boolean;
  degraded: boolean;
  reward: number | null;
  reward_at: string | null;
}

/** The last decisions of one person, newest first. */
export interface FeatureHistory {
  history: HistoryEntry[];
}

/** What one policy made of the candidates; the arrays are in the candidates' order. */
export interface EvaluationView {
  policy_version: string;
  schema_hash: string;
  prior: string | null;
  parameters: { [name: string]: number };
  features: { [name: string]: number };
  mean: number[];
  width: number[];
  score: number[];
  propensity: number[];
}

/** One reaction. `learned`: whether its reward is in what was learned. */
export interface ReactionView {
  reward: number;
  occurred_at: string;
  event_id: string;
  action: string | null;
  dwell_ms: number | null;
  learned: boolean;
}

/** One decision whole, as remembered: enough to replay its probabilities and its choice. `reaction` is the one that counts, `late_reaction` the last one after the reward wait. `learned_reward` is what the decision has taught: a reaction's reward, the default at the end of the wait, or nothing yet. `profile_sources` says of each profile feature whether it was the request's, a stored one, or a fallback. */
export interface DecisionResponse {
  decision_id: string;
  user_id: string;
  ts: string;
  tip_id: string;
  policy: string;
  candidates: { [name: string]: unknown }[];
  hour_of_day: number | null;
  day_of_week: number | null;
  profile_features: { [name: string]: number | boolean | null };
  profile_sources: { [name: string]: string };
  context: { [name: string]: unknown };
  evaluations: { [name: string]: EvaluationView };
  explored: boolean;
  degraded: boolean;
  deferred: boolean;
  epoch: number | null;
  experiments: { [name: string]: string };
  shown_at: string | null;
  reward_wait_began_at: string | null;
  reward_wait_ends_at: string | null;
  reaction: ReactionView | null;
  late_reaction: ReactionView | null;
  learned_reward: number | null;
}

/** One stored profile feature. `value`: its fallback when nothing is stored; then it was never updated. `fresh`: whether it is young enough (`age_sec` at most `ttl_sec`) for decisions to use it. */
export interface ProfileFeatureView {
  value: number | null;
  updated_at: string | null;
  age_sec: number | null;
  fresh: boolean;
  /** integer */
  ttl_sec: number;
}

/** What is stored of a person's profile, by the feature's name; reading it changes nothing. */
export interface ProfileResponse {
  user_id: string;
  features: { [name: string]: ProfileFeatureView };
}

export interface ConsumerHealth {
  last_msg_ts: string | null;
  /** integer */
  processed: number;
  /** integer */
  errors: number;
}

/** As the bridge's last heartbeat says; `stale` when the next ones are missing, absent when there never was one. */
export interface NatsHealth {
  enabled: boolean;
  consumers: { [name: string]: ConsumerHealth };
  last_heartbeat?: string | null;
  stale?: boolean | null;
}

/** `ok` is false when the table does not answer. */
export interface HealthResponse {
  ok: boolean;
  version: string;
  nats: NatsHealth;
}

/** What a prompt may know of the person right now; all of it optional. As much as a body holds is taken: `tips.features.context` chooses and cuts, so that no app's long list or text refuses a person their tips. */
export interface PromptContext {
  tasks?: PromptTask[] | null;
  hour_of_day?: number | null;
  day_of_week?: number | null;
  timezone?: string | null;
  snippets?: string[] | null;
}

/** A task of the person, as their app knows it. A long title is cut and one without words is passed over. */
export interface PromptTask {
  id: string;
  content: string;
  is_overdue?: boolean | null;
  task_age_days?: number | null;
  priority?: number | null;
  due?: string | null;
}

export interface GenerateRequest {
  user_id: string;
  context?: PromptContext;
  /** integer */
  n?: number;
  prompt_version?: string | null;
  profile_features?: { [name: string]: number | boolean | null } | null;
}

/** A written tip, ready to be a candidate of `POST /score`. */
export interface TipCandidate {
  id: string;
  content: string;
  kind: "task" | "advice" | "insight" | "reminder";
  source: string;
  rationale?: string | null;
  prompt_version: string;
  model: string;
  generation_id: string;
}

/** `prompt_propensity`: the probability with which the version was chosen; `logged`: whether reactions find it. */
export interface GenerateResponse {
  candidates: TipCandidate[];
  model: string;
  prompt_version: string;
  prompt_propensity: number;
  generation_id: string;
  /** integer */
  prompt_tokens: number;
  /** integer */
  completion_tokens: number;
  /** integer */
  attempts: number;
  fallback: boolean;
  cost_usd?: number | null;
  logged: boolean;
}

export interface PromptInfo {
  version: string;
  description: string;
  content_hash: string;
  released: boolean;
}

/** `default`: what a request gets that names nothing. */
export interface PromptsResponse {
  default: string;
  aliases: { [name: string]: string };
  versions: PromptInfo[];
}

/** What reactions say of a version. Of the tips `shown`, `settled` have a reaction or have had their time for one; `mean_reward` is that of the settled ones, and `interval` covers it with the answer's `confidence`, at all times at once. Both are null before the first. */
export interface PromptStats {
  version: string;
  /** integer */
  shown: number;
  /** integer */
  settled: number;
  /** integer */
  reactions: number;
  mean_reward: number | null;
  interval: [number, number] | null;
}

export interface PromptStatsResponse {
  confidence: number;
  versions: PromptStats[];
}

export interface GenerateHealth {
  ok: boolean;
  version: string;
  model: string | null;
}

export interface ErrorDetail {
  code: string;
  message: string;
  field?: string | null;
}

/** What every error looks like. */
export interface ErrorAnswer {
  error: ErrorDetail;
  request_id: string;
}

/** `signals.task.synced`: the tasks of a source were read. */
export interface TaskSynced {
  user_id: string;
  /** integer */
  task_count: number;
  synced_at: string;
  source?: string | null;
  [name: string]: unknown;
}

/** `signals.task.synced`: the tasks of a source were read. */
export interface TaskSyncedCamelCase {
  userId: string;
  /** integer */
  taskCount: number;
  syncedAt: string;
  source?: string | null;
  [name: string]: unknown;
}

/** `signals.tip.served`: a tip was shown. */
export interface TipServed {
  user_id: string;
  tip_id: string;
  decision_id?: string | null;
  policy?: string | null;
  prompt_version?: string | null;
  kind?: "task" | "advice" | "insight" | "reminder" | null;
  shown_at: string;
  [name: string]: unknown;
}

/** `signals.tip.served`: a tip was shown. */
export interface TipServedCamelCase {
  userId: string;
  tipId: string;
  decisionId?: string | null;
  policy?: string | null;
  promptVersion?: string | null;
  kind?: "task" | "advice" | "insight" | "reminder" | null;
  shownAt: string;
  [name: string]: unknown;
}

/** `signals.tip.feedback` and `feedback.tip`: a person reacted to a tip. */
export interface TipFeedback {
  user_id: string;
  tip_id: string;
  decision_id?: string | null;
  action: "done" | "dismiss" | "snooze" | "helpful" | "not_helpful";
  dwell_ms?: number | null;
  [name: string]: unknown;
}

/** `signals.tip.feedback` and `feedback.tip`: a person reacted to a tip. */
export interface TipFeedbackCamelCase {
  userId: string;
  tipId: string;
  decisionId?: string | null;
  action: "done" | "dismiss" | "snooze" | "helpful" | "not_helpful";
  dwellMs?: number | null;
  [name: string]: unknown;
}

/** `signals.tip.reward_failed`: a reward that HTTP lost. */
export type RewardFailed = {
  user_id: string;
  tip_id: string;
  decision_id?: string | null;
  reward?: number | null;
  action?: "done" | "dismiss" | "snooze" | "helpful" | "not_helpful" | null;
  dwell_ms?: number | null;
  error?: unknown;
  [name: string]: unknown;
} & ({ action: "done" | "dismiss" | "snooze" | "helpful" | "not_helpful" } | { reward: number });

/** `signals.tip.reward_failed`: a reward that HTTP lost. */
export type RewardFailedCamelCase = {
  userId: string;
  tipId: string;
  decisionId?: string | null;
  reward?: number | null;
  action?: "done" | "dismiss" | "snooze" | "helpful" | "not_helpful" | null;
  dwellMs?: number | null;
  error?: unknown;
  [name: string]: unknown;
} & ({ action: "done" | "dismiss" | "snooze" | "helpful" | "not_helpful" } | { reward: number });

/** `signals.integration.token_expired`: a source can no longer be read. */
export interface TokenExpired {
  user_id: string;
  source: string;
  [name: string]: unknown;
}

/** `signals.integration.token_expired`: a source can no longer be read. */
export interface TokenExpiredCamelCase {
  userId: string;
  source: string;
  [name: string]: unknown;
}

/** What every event has around its payload. */
export interface Envelope<Payload> {
  event_id: string;
  occurred_at: string;
  schema_version: number | string;
  producer: string;
  payload: Payload;
  [name: string]: unknown;
}

/** What every event has around its payload. */
export interface EnvelopeCamelCase<Payload> {
  eventId: string;
  occurredAt: string;
  schemaVersion: number | string;
  producer: string;
  payload: Payload;
  [name: string]: unknown;
}

/** Payloads by subject. Names are snake_case or camelCase; the service takes both. */
export interface Payloads {
  "signals.task.synced": TaskSynced | TaskSyncedCamelCase;
  "signals.tip.served": TipServed | TipServedCamelCase;
  "signals.tip.feedback": TipFeedback | TipFeedbackCamelCase;
  "feedback.tip": TipFeedback | TipFeedbackCamelCase;
  "signals.tip.reward_failed": RewardFailed | RewardFailedCamelCase;
  "signals.integration.token_expired": TokenExpired | TokenExpiredCamelCase;
}

export type Subject = keyof Payloads;

/** An event as it is published under its subject. */
export type EventOf<S extends Subject> = Envelope<Payloads[S]> | EnvelopeCamelCase<Payloads[S]>;
