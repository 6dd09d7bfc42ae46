// What every scenario counts the same way.
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Rate, Trend } from 'k6/metrics';

export const url = __ENV.URL;
export const rate = Number(__ENV.RATE);
export const seconds = Number(__ENV.SECONDS);
export const run = __ENV.RUN;

// What was asked for and done, refused (429 or 503, as promised), or answered in any other way.
export const good = new Counter('good');
// What was taken, so that it must be there afterwards.
export const accepted = new Counter('accepted');
export const refused = new Counter('refused');
export const goodTime = new Trend('good_time', true);
export const refusalTime = new Trend('refusal_time', true);
export const asPromised = new Rate('as_promised');

export function constant(options = {}) {
  return {
    executor: 'constant-arrival-rate',
    rate,
    timeUnit: '1s',
    duration: `${seconds}s`,
    preAllocatedVUs: 50,
    maxVUs: 2000,
    gracefulStop: '30s',
    ...options,
  };
}

// 0.99 of the requests must have been sent: k6 drops those for which it finds no user.
export const kept = { dropped_iterations: [`count<=${0.01 * rate * seconds}`] };

export function judge(answer, statuses) {
  const isGood = statuses.includes(answer.status);
  const isRefusal =
    (answer.status === 429 || answer.status === 503) &&
    answer.headers['Retry-After'] !== undefined &&
    answer.headers['Content-Type'] === 'application/problem+json';
  asPromised.add(check(answer, { 'good, or refused as promised': () => isGood || isRefusal }));
  if (isGood) {
    good.add(1);
    goodTime.add(answer.timings.duration);
  } else if (isRefusal) {
    refused.add(1);
    refusalTime.add(answer.timings.duration);
  }
  return isGood;
}

export const json = { 'Content-Type': 'application/json' };

export function headers(key) {
  return { headers: { ...json, 'Idempotency-Key': `load-${run}-${key}` } };
}

export function order(number) {
  const item = { sku: 'LOAD', quantity: 1, unitPrice: 1000 };
  const body = JSON.stringify({ currency: 'KRW', items: [item] });
  const made = http.post(`${url}/api/v1/orders`, body, headers(`order-${number}`));
  if (made.status !== 201) throw new Error(made.body);
  return made.json('id');
}

// Without RATE as much as 48 callers get, fewer than may be let in; with it whatever comes, and a
// refusal comes at once.
export function overload(beside) {
  const callers = {
    executor: 'constant-vus',
    vus: 48,
    duration: `${seconds}s`,
    gracefulStop: '30s',
  };
  return {
    setupTimeout: '120s',
    scenarios: { main: __ENV.RATE ? constant() : callers, ...beside },
    thresholds: { as_promised: ['rate==1'], refusal_time: ['max<1000'] },
  };
}
