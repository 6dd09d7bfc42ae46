// POST /api/v1/usage, an event a request, at a constant rate.
import http from 'k6/http';
import exec from 'k6/execution';
import { accepted, constant, json, judge, kept, rate, run, seconds, url } from './answers.js';

const occurredAt = new Date().toISOString();

export const options = {
  scenarios: { usage: constant() },
  thresholds: {
    ...kept,
    good: [`count>=${0.99 * rate * seconds}`],
    good_time: ['p(95)<50'],
    refused: ['count==0'],
    as_promised: ['rate==1'],
  },
};

export default function () {
  const event = {
    eventId: `load-${run}-${exec.scenario.iterationInTest}`,
    customerId: 'acme-corp',
    resourceType: 'API_CALL',
    quantity: 1.5,
    occurredAt,
  };
  const answer = http.post(`${url}/api/v1/usage`, JSON.stringify(event), { headers: json });
  if (judge(answer, [202])) accepted.add(1);
}
