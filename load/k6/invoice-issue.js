// POST /api/v1/settlement/run: more and more callers, each of whom looks a second at what came. Each
// month of a customer is asked for by two of them at once.
import http from 'k6/http';
import { sleep } from 'k6';
import exec from 'k6/execution';
import { accepted, judge, rate, run, seconds, url } from './answers.js';

export const options = {
  scenarios: {
    settlements: {
      executor: 'ramping-vus',
      startVUs: 0,
      stages: [{ duration: `${seconds}s`, target: rate }],
      gracefulRampDown: '30s',
      gracefulStop: '30s',
    },
  },
  thresholds: {
    good_time: ['p(95)<500'],
    refused: ['count==0'],
    as_promised: ['rate==1'],
  },
};

export default function () {
  const iteration = exec.scenario.iterationInTest;
  const customer = `issue-${run}-${Math.floor(iteration / 2)}`;
  const path = `/api/v1/settlement/run?customerId=${customer}&period=2026-05`;
  const isGood = judge(http.post(`${url}${path}`), [200, 201, 202]);
  if (isGood && iteration % 2 === 0) accepted.add(1);
  sleep(1);
}
