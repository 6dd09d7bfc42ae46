// POST /api/v1/usage, an event a request, at a constant rate.
import http from 'k6/http';
import exec from 'k6/execution';
import { constant, good, json, judge, kept, rate, seconds, url } from './answers.js';

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
    eventId: `load-${__ENV.RUN}-${exec.scenario.iterationInTest}`,
    customerId: 'acme-corp',
    resourceType: 'API_CALL',
    quantity: 1.5,
    occurredAt,
  };
  judge(http.post(`${url}/api/v1/usage`, JSON.stringify(event), { headers: json }), [202]);
}
