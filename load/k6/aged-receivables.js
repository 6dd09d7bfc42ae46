// GET /api/v1/aged-receivables as of days at which 13,000 to 18,000 of 200,000 invoices were unpaid.
import http from 'k6/http';
import exec from 'k6/execution';
import { constant, judge, kept, rate, seconds, url } from './answers.js';

const FIRST = Date.UTC(2024, 5, 1);
const DAYS = 450;

export const options = {
  scenarios: { receivables: constant() },
  thresholds: {
    ...kept,
    good: [`count>=${0.99 * rate * seconds}`],
    good_time: ['p(95)<300'],
    refused: ['count==0'],
    as_promised: ['rate==1'],
    checks: ['rate==1'],
  },
};

export default function () {
  const day = new Date(FIRST + ((exec.scenario.iterationInTest * 97) % DAYS) * 86400000);
  const asOf = day.toISOString().slice(0, 10);
  const answer = http.get(`${url}/api/v1/aged-receivables?asOf=${asOf}`);
  if (judge(answer, [200])) {
    const currencies = new Set(answer.json().map((each) => each.currency));
    if (currencies.size !== 3) exec.test.abort(`${asOf}: ${[...currencies]}`);
  }
}
