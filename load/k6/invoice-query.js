// GET /api/v1/invoices and /api/v2/invoices, half each: the months of one customer, of everybody,
// and by cursor.
import http from 'k6/http';
import exec from 'k6/execution';
import { constant, judge, kept, rate, seconds, url } from './answers.js';

const CUSTOMERS = 10000;

export const options = {
  scenarios: { queries: constant() },
  thresholds: {
    ...kept,
    good: [`count>=${0.99 * rate * seconds}`],
    good_time: ['p(95)<100'],
    refused: ['count==0'],
    as_promised: ['rate==1'],
    checks: ['rate==1'],
  },
};

let cursor = '';

function path(number) {
  const customer = `reader-${(number * 7919) % CUSTOMERS}`;
  switch (number % 4) {
    case 0:
      return `/api/v1/invoices?customerId=${customer}`;
    case 1:
      return `/api/v1/invoices?page=${(number % 50) + 1}`;
    case 2:
      return `/api/v2/invoices?customerId=${customer}&size=20`;
    default:
      return `/api/v2/invoices?size=20${cursor && `&cursor=${cursor}`}`;
  }
}

export default function () {
  const number = exec.scenario.iterationInTest;
  const answer = http.get(`${url}${path(number)}`);
  if (judge(answer, [200])) {
    // Not parsed: that would cost k6 as much as the answer costs the API.
    const invoices = answer.body.split('"workflowId"').length - 1;
    if (invoices !== 20) exec.test.abort(`${answer.url}: ${invoices} invoices`);
    if (number % 4 === 3) cursor = answer.body.match(/"nextCursor":"([^"]*)"/)[1];
  }
}
